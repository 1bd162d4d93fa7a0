package launch

// The outermost process: it checks the machine, clears what a crash left, starts the namespaces' first process, and when that
// ends or is to end, leaves nothing but logs. The kernel ends every process, mount and link of the cluster with its first process.

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Use is what is done with a cluster that is up. The context ends when the cluster is to end, and when it failed.
type Use func(over context.Context) error

// Up brings a cluster up in a folder that was taken, and takes it down when use returns.
func Up(ctx context.Context, options Options, use Use) error {
	if err := clean(options.State); err != nil {
		return fmt.Errorf("clear what the last run left: %w", err)
	}
	cluster, err := start(options)
	if err != nil {
		return err
	}
	err = cluster.serve(ctx, use)
	if left := errors.Join(cluster.stop(), clean(options.State)); left != nil {
		return errors.Join(err, left)
	}
	return err
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
	return c, os.WriteFile(options.State.anchor(), []byte(anchor), 0o600)
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

// Wait is the use that says where the kubeconfig is and waits for the end.
func Wait(state State) Use {
	return func(over context.Context) error {
		fmt.Printf("the node is Ready\nkubeconfig: %s\n", state.Kubeconfig())
		<-over.Done()
		return nil
	}
}

// Run is the use that runs a command beside the cluster. A command that does not succeed is an Ended.
func Run(state State, command []string) Use {
	return func(over context.Context) error {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		child := exec.Command(self, append([]string{"exec", "--state", string(state), "--"}, command...)...)
		child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
		child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := child.Start(); err != nil {
			return err
		}
		done := make(chan error, 1)
		go func() { done <- child.Wait() }()
		select {
		case err := <-done:
			var ended *exec.ExitError
			if errors.As(err, &ended) {
				return Ended{ended.Sys().(syscall.WaitStatus)}
			}
			return err
		case <-over.Done():
			_ = child.Process.Signal(syscall.SIGTERM)
			<-done
			return context.Cause(over)
		}
	}
}

// Enter becomes a command in the cluster's outer network, where the gateway and the clients live; whole also takes its mounts and
// its view of processes, for a look at containerd.
func Enter(state State, whole bool, command []string) error {
	text, err := os.ReadFile(state.anchor())
	if err != nil {
		return fmt.Errorf("no cluster runs in %s: %w", state, err)
	}
	words := []string{"nsenter", "--target", strings.TrimSpace(string(text)), "--net"}
	if whole {
		words = append(words, "--mount", "--pid")
	}
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		return err
	}
	environment := append(os.Environ(),
		"PODGATE_TEST_KUBECONFIG="+state.Kubeconfig(), "KUBECONFIG="+state.Kubeconfig(),
		"PATH="+state.path("bin")+":"+os.Getenv("PATH"))
	return syscall.Exec(nsenter, append(append(words, "--"), command...), environment)
}
