package launch

// The outermost process: it clears what a crash left, starts the namespaces' first process, and when that ends or is to end, leaves
// nothing but logs. The kernel ends every process, mount and link of the cluster with its first process.

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Use is what is done with a cluster that is up. The context ends when the cluster is to end, and when it failed.
type Use func(over context.Context) error

// Up brings a cluster up in a folder that was taken, and takes it down when use returns.
func Up(ctx context.Context, options Options, use Use) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, it := range all {
		err = errors.Join(err, it.sweep(cgroupPrefix))
	}
	if err := errors.Join(err, options.State.empty()); err != nil {
		return fmt.Errorf("clear what a run left: %w", err)
	}
	held, err := claimCgroups(options.State, all)
	var cluster *cluster
	if err == nil {
		cluster, err = start(options)
	}
	var left error
	if err == nil {
		err = cluster.serve(ctx, use)
		left = errors.Join(endCommands(options.State, grace), cluster.stop())
	}
	for _, cgroup := range held {
		left = errors.Join(left, removeCgroup(cgroup.Name()), cgroup.Close())
	}
	if left = errors.Join(left, options.State.empty()); left != nil {
		return errors.Join(err, left)
	}
	return err
}

// claimCgroups makes and holds the cluster's cgroups, as many as could be made.
func claimCgroups(state State, all []hierarchy) ([]*os.File, error) {
	commands, err := commandHierarchy(all).claim(state.commands())
	if err != nil {
		return nil, err
	}
	held := []*os.File{commands}
	for _, it := range all {
		cgroup, err := it.claim(state.cgroup())
		if err != nil {
			return held, err
		}
		held = append(held, cgroup)
	}
	return held, nil
}

// cluster is a started one, seen from outside.
type cluster struct {
	first *exec.Cmd
	life  io.Closer     // closing it, or our end, ends the cluster
	ready chan struct{} // closed when the node is Ready
	ended chan struct{} // closed when the first process is gone
	err   error         // how it ended; to be read after ended
}

// start starts the first process in namespaces of its own.
func start(options Options) (*cluster, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	lifeEnd, life, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	readySide, readyEnd, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	first := exec.Command(self, append([]string{"first"}, options.words()...)...)
	first.Stdout, first.Stderr = os.Stderr, os.Stderr
	first.ExtraFiles = []*os.File{lifeEnd, readyEnd}
	first.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET,
		Setpgid:    true, // a Ctrl-C is ours alone
	}
	if err := first.Start(); err != nil {
		return nil, fmt.Errorf("start the first process: %w", err)
	}
	lifeEnd.Close()
	readyEnd.Close()
	c := &cluster{first: first, life: life, ready: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		if _, err := bufio.NewReader(readySide).ReadString('\n'); err == nil {
			close(c.ready)
		}
	}()
	go func() {
		c.err = first.Wait()
		close(c.ended)
	}()
	anchor := strconv.Itoa(first.Process.Pid) + "\n"
	if err := os.WriteFile(options.State.anchor(), []byte(anchor), 0o600); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	return c, nil
}

// serve waits for the node, then for use or for what ends it.
func (c *cluster) serve(ctx context.Context, use Use) error {
	select {
	case <-c.ready:
	case <-c.ended:
		return fmt.Errorf("the cluster did not come up: %v", c.err)
	case <-ctx.Done():
		return fmt.Errorf("before the node was Ready: %w", context.Cause(ctx))
	}
	over, end := context.WithCancel(ctx)
	defer end()
	go func() {
		select {
		case <-c.ended:
			end()
		case <-over.Done():
		}
	}()
	err := use(over)
	select {
	case <-c.ended:
		return fmt.Errorf("the cluster ended by itself: %v", c.err)
	default:
		return err
	}
}

func (c *cluster) stop() error {
	err := c.life.Close()
	<-c.ended
	return err
}

// words are the options as the first process reads them.
func (o Options) words() []string {
	words := []string{"--state", string(o.State)}
	if o.Audit {
		words = append(words, "--audit")
	}
	for _, image := range o.Images {
		words = append(words, "--image", image)
	}
	return words
}
