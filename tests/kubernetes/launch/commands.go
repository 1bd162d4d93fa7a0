package launch

// The commands in a cluster's network, and their end. They are the machine's processes as all others are, but for one cgroup that holds
// them with all that they start, wherever that hides; it has no limits, and what is in it ends with the cluster.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// grace is how long a command has from TERM to KILL.
const grace = 10 * time.Second

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
		// At a terminal Ctrl-C goes to the command as well, which may live on, as a shell does. When it does not, it is over anyway.
		if _, err := unix.IoctlGetTermios(int(os.Stdin.Fd()), unix.TCGETS); err == nil {
			signal.Ignore(os.Interrupt)
		}
		done := make(chan error, 1)
		go func() { done <- child.Wait() }()
		select {
		case err = <-done:
		case <-over.Done():
			err = endCommands(state, grace)
			// It may be on its way into the cgroup still.
			_ = child.Process.Kill()
			<-done
		}
		var ended *exec.ExitError
		if errors.As(err, &ended) {
			err = Ended{ended.Sys().(syscall.WaitStatus)}
		}
		// A signal may have reached the command as well, which then ended before us, well or not.
		if over.Err() != nil {
			return errors.Join(context.Cause(over), err)
		}
		return err
	}
}

// Enter becomes a command in the cluster's outer network, where the gateway and the clients live; whole also takes its mounts and
// its view of processes, for a look at containerd.
func Enter(state State, whole bool, command []string) error {
	text, err := os.ReadFile(state.anchor())
	if err != nil {
		return fmt.Errorf("no cluster runs in %s: %w", state, err)
	}
	all, err := hierarchies()
	if err != nil {
		return err
	}
	if err := commandHierarchy(all).join(state.commands()); err != nil {
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

// commandHierarchy is the one that the commands' cgroup is in: that of version 2, where controllers count only what they are told to.
func commandHierarchy(all []hierarchy) hierarchy {
	return all[max(0, slices.IndexFunc(all, func(it hierarchy) bool { return it.kind == "cgroup2" }))]
}

// endCommands ends every command with all that it started: TERM, and KILL for what is left after the grace.
func endCommands(state State, grace time.Duration) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	folder := commandHierarchy(all).folder + state.commands()
	// What is stopped ends only when it goes on.
	signalAll(folder, syscall.SIGTERM, syscall.SIGCONT)
	_ = until(grace, func() error {
		if len(members(folder)) > 0 {
			return errors.New("commands are left")
		}
		return nil
	})
	return removeCgroup(folder)
}
