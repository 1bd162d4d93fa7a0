package launch

// The first process of the cluster's namespaces: it makes their mounts and links, starts the supervisor in the node's network, and reaps
// what others leave. When it ends, the kernel ends everything in them.

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	lifeFile       = 3 // the first process's: at end-of-file, whoever started it is gone
	readyFile      = 4 // the first process's, handed on: takes one line when the node is Ready
	supervisorFile = 3 // the same, as the supervisor has it
)

// First is the first process's whole life.
func First(options Options) error {
	syscall.CloseOnExec(lifeFile)
	syscall.CloseOnExec(readyFile)
	// A cgroup namespace is a thread's; every process of ours must come from the one that has it.
	runtime.LockOSThread()
	if err := mounts(options.State); err != nil {
		return fmt.Errorf("mounts: %w", err)
	}
	if err := ownCgroups(options.State.cgroup()); err != nil {
		return fmt.Errorf("cgroups: %w", err)
	}
	if err := links(); err != nil {
		return fmt.Errorf("network: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	words := append([]string{"--net=" + netns, "--", self, "supervise"}, options.words()...)
	supervisor := exec.Command("nsenter", words...)
	supervisor.Stdout, supervisor.Stderr = os.Stdout, os.Stderr
	supervisor.ExtraFiles = []*os.File{os.NewFile(readyFile, "ready")}
	if err := supervisor.Start(); err != nil {
		return err
	}
	gone := make(chan struct{})
	go func() {
		_, _ = os.NewFile(lifeFile, "life").Read(make([]byte, 1))
		close(gone)
	}()
	for {
		select {
		case <-gone:
			return nil
		case <-children:
			if ended, status := reap(supervisor.Process.Pid); ended {
				return fmt.Errorf("the supervisor ended with %d", status.ExitStatus())
			}
		}
	}
}

// reap collects every child that ended, and says whether the named one was among them.
func reap(named int) (ended bool, how syscall.WaitStatus) {
	for {
		var status syscall.WaitStatus
		child, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || child <= 0 {
			return ended, how
		}
		if child == named {
			ended, how = true, status
		}
	}
}

// tunables are the kernel's settings that a kubelet sets for the whole machine. It finds them set, and the machine keeps its own.
var tunables = map[string]string{
	"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
	"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
}

// mounts gives the namespaces a /proc, a /run, a /var/log and a /var/lib of their own.
func mounts(state State) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return err
	}
	for _, folder := range []string{"/run", "/var/log"} {
		if err := unix.Mount("tmpfs", folder, "tmpfs", 0, "mode=755"); err != nil {
			return err
		}
	}
	scratch := state.path("var-lib")
	for _, folder := range []string{scratch, filepath.Join(scratch, "upper"), filepath.Join(scratch, "work")} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	layers := "lowerdir=/var/lib,upperdir=" + filepath.Join(scratch, "upper") + ",workdir=" + filepath.Join(scratch, "work")
	if err := unix.Mount("overlay", "/var/lib", "overlay", 0, layers); err != nil {
		return err
	}
	if err := os.MkdirAll("/run/netns", 0o755); err != nil {
		return err
	}
	if err := os.MkdirAll("/run/tunables", 0o755); err != nil {
		return err
	}
	for name, value := range tunables {
		file := "/run/tunables/" + filepath.Base(name)
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := unix.Mount(file, "/proc/sys/"+name, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// links joins the node's network to ours, and gives pods the API at its service address without a proxy for services.
func links() error {
	inNode := func(words ...string) []string { return append([]string{"nsenter", "--net=" + netns, "--"}, words...) }
	var err error
	for _, words := range [][]string{
		{"ip", "link", "set", "lo", "up"},
		{"ip", "netns", "add", "node"},
		{"ip", "link", "add", "node", "type", "veth", "peer", "name", "eth0", "netns", "node"},
		{"ip", "addr", "add", outside + "/24", "dev", "node"},
		{"ip", "link", "set", "node", "up"},
		inNode("ip", "link", "set", "lo", "up"),
		inNode("ip", "addr", "add", node+"/24", "dev", "eth0"),
		inNode("ip", "link", "set", "eth0", "up"),
		inNode("ip", "route", "add", "default", "via", outside),
		inNode("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"),
		inNode("iptables", "-t", "nat", "-A", "PREROUTING", "-d", service+"/32", "-p", "tcp", "--dport", "443",
			"-j", "DNAT", "--to-destination", node+":"+balancerPort),
		{"ip", "route", "add", pods, "via", node},
	} {
		output, failed := exec.Command(words[0], words[1:]...).CombinedOutput()
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("%v: %w: %s", words, failed, output))
		}
	}
	return err
}
