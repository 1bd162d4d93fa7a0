package launch

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// testPrefix is not that of clusters: one may be starting on this machine now.
var testPrefix = fmt.Sprintf("/podgate-launch-test-%d-", os.Getpid())

func everyHierarchy(t *testing.T) []hierarchy {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may make cgroups")
	}
	all, err := hierarchies()
	if err != nil || len(all) == 0 {
		t.Fatal("no cgroups are mounted", err)
	}
	return all
}

// claimed is a new cgroup with its lock.
func claimed(t *testing.T, it hierarchy, cgroup string) *os.File {
	t.Helper()
	lock, err := it.claim(cgroup)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		lock.Close()
		if err := removeCgroup(it.folder + cgroup); err != nil {
			t.Error(err)
		}
	})
	return lock
}

// member starts a process in the cgroup that has run its script up to a word on stdout.
func member(t *testing.T, folder, script string) *exec.Cmd {
	t.Helper()
	child := exec.Command("sh", "-c", script)
	_, err := child.StdinPipe() // which it can read from for ever
	stdout, failed := child.StdoutPipe()
	if err := errors.Join(err, failed, child.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = child.Process.Kill(); _ = child.Wait() })
	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(folder+"/cgroup.procs", []byte(strconv.Itoa(child.Process.Pid)), 0); err != nil {
		t.Fatal(err)
	}
	return child
}

func killedBy(t *testing.T, child *exec.Cmd, signal syscall.Signal) {
	t.Helper()
	_ = child.Wait()
	if status := child.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != signal {
		t.Errorf("%v ended with %v, not by %v", child.Args, child.ProcessState, signal)
	}
}

func TestCgroupsOfADeadClusterGoWithWhatIsInThemAndThoseOfALivingOneStay(t *testing.T) {
	for _, it := range everyHierarchy(t) {
		dead, living := testPrefix+"dead", testPrefix+"living"
		lock := claimed(t, it, dead)
		if err := it.make(dead + "/pod"); err != nil {
			t.Fatal(err)
		}
		claimed(t, it, living)
		left := member(t, it.folder+dead+"/pod", "echo up; read word")
		used := member(t, it.folder+living, "echo up; read word")
		lock.Close() // as the end of its process does
		if err := it.sweep(testPrefix); err != nil {
			t.Fatal(err)
		}
		killedBy(t, left, syscall.SIGKILL)
		if _, err := os.Stat(it.folder + dead); !errors.Is(err, fs.ErrNotExist) {
			t.Error(it.folder, "the dead cluster's cgroup is still there", err)
		}
		if got := members(it.folder + living); len(got) != 1 || got[0] != used.Process.Pid {
			t.Error(it.folder, "the living cluster's process is not in its cgroup", got)
		}
	}
}

func TestCgroupOfALivingClusterIsNotClaimedTwice(t *testing.T) {
	it := commandHierarchy(everyHierarchy(t))
	claimed(t, it, testPrefix+"one")
	if _, err := it.claim(testPrefix + "one"); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Fatal(err)
	}
}

func TestCommandsEndAtTermAndByKillAfterTheGrace(t *testing.T) {
	it := commandHierarchy(everyHierarchy(t))
	state := newState(t)
	claimed(t, it, state.commands())
	polite := member(t, it.folder+state.commands(), "echo up; read word")
	stopped := member(t, it.folder+state.commands(), "echo up; read word")
	if err := stopped.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	deaf := member(t, it.folder+state.commands(), "trap '' TERM; echo up; read word")
	if err := endCommands(state, 100*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	killedBy(t, polite, syscall.SIGTERM)
	killedBy(t, stopped, syscall.SIGTERM)
	killedBy(t, deaf, syscall.SIGKILL)
	if _, err := os.Stat(it.folder + state.commands()); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the commands' cgroup is still there", err)
	}
}
