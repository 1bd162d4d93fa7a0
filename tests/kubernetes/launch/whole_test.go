package launch

// Whole clusters, and what is left of them on the machine: nothing but logs.

import (
	"bufio"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// whole is a cluster that is starting.
type whole struct {
	*exec.Cmd
	t      *testing.T
	state  State
	stdout *bufio.Reader
}

// begin starts a cluster that runs a shell's script beside it.
func begin(t *testing.T, script string) whole {
	t.Helper()
	program := os.Getenv("PODGATE_TEST_CLUSTER")
	if program == "" {
		t.Skip("PODGATE_TEST_CLUSTER does not name the program that tests/kubernetes/build makes")
	}
	state := newState(t)
	command := exec.Command(program, "run", "--module", "..", "--state", string(state), "--", "sh", "-c", script)
	command.Stderr = os.Stderr
	stdout, err := command.StdoutPipe()
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = command.Process.Kill(); _ = command.Wait() })
	return whole{command, t, state, bufio.NewReader(stdout)}
}

// up waits for the script's first line.
func (w whole) up() {
	w.t.Helper()
	if line, err := w.stdout.ReadString('\n'); line != "up\n" {
		w.t.Fatal("the command did not run: ", line, err)
	}
}

// first is the number of the cluster's first process, once it has one.
func (w whole) first() string {
	w.t.Helper()
	var text []byte
	err := until(30*time.Second, func() (err error) {
		text, err = os.ReadFile(w.state.anchor())
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// ends says with what code the outermost process ended after a signal.
func (w whole) ends(signal syscall.Signal) int {
	w.t.Helper()
	if err := w.Process.Signal(signal); err != nil {
		w.t.Fatal(err)
	}
	_ = w.Wait()
	return w.ProcessState.ExitCode()
}

// spaces are the namespaces of a process. One that has ended and waits for its parent's look at it has left them.
func spaces(process string) []string {
	var all []string
	for _, kind := range []string{"net", "mnt", "pid", "cgroup"} {
		space, err := os.Readlink(filepath.Join("/proc", process, "ns", kind))
		if err != nil {
			return nil
		}
		all = append(all, space)
	}
	return all
}

// runningIn lists the machine's processes that are in any of the namespaces.
func runningIn(t *testing.T, wanted []string) []string {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil || len(all) == 0 {
		t.Fatal("no process is seen", err)
	}
	return slices.DeleteFunc(all, func(folder string) bool {
		return !slices.ContainsFunc(spaces(filepath.Base(folder)), func(one string) bool { return slices.Contains(wanted, one) })
	})
}

// clusterSpaces are all namespaces of the cluster that has this first process, and none of the machine's.
func clusterSpaces(t *testing.T, first string) []string {
	t.Helper()
	own := spaces("self")
	foreign := func(all []string) []string {
		return slices.DeleteFunc(all, func(one string) bool { return slices.Contains(own, one) })
	}
	all := foreign(spaces(first))
	if len(all) != 4 {
		t.Fatal("not four namespaces of its own: ", all)
	}
	for _, folder := range runningIn(t, all) {
		all = append(all, foreign(spaces(filepath.Base(folder)))...)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	if len(all) < 5 {
		t.Fatal("the node has no network of its own: ", all)
	}
	return all
}

// machineState is what a cluster must leave as it was: the mounts and links.
func machineState(t *testing.T) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	links, failed := net.Interfaces()
	if err := errors.Join(err, failed); err != nil {
		t.Fatal(err)
	}
	text := string(mounts)
	for _, link := range links {
		text += link.Name + "\n"
	}
	return text
}

// nothingLeft fails for each process in the namespaces, and each cgroup of the clusters.
func nothingLeft(t *testing.T, wanted []string, clusters ...whole) {
	t.Helper()
	for _, folder := range runningIn(t, wanted) {
		words, _ := os.ReadFile(folder + "/cmdline")
		t.Errorf("%s is left: %q", folder, words)
	}
	for _, it := range everyHierarchy(t) {
		for _, cluster := range clusters {
			left, err := filepath.Glob(it.folder + cluster.state.cgroup() + "*")
			if err != nil || len(left) > 0 {
				t.Error("a cgroup is left: ", left, err)
			}
		}
	}
}

// Each command leaves a child behind in a session of its own, as a daemon is.
const daemon = "setsid tail -f /dev/null & echo up; wait"

func TestWholeClusterEndsAtTermWithAllThatItsCommandStarted(t *testing.T) {
	before := machineState(t)
	cluster := begin(t, daemon)
	cluster.up()
	wanted := clusterSpaces(t, cluster.first())
	if code := cluster.ends(syscall.SIGTERM); code != 143 {
		t.Error("it ended with ", code)
	}
	nothingLeft(t, wanted, cluster)
	if after := machineState(t); after != before {
		t.Error("the machine has other mounts or links: ", after)
	}
	entries, err := os.ReadDir(string(cluster.state))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !slices.Contains(kept, entry.Name()) {
			t.Error("its state is left: ", entry.Name())
		}
	}
}

func TestWholeClusterThatWasKilledIsGoneAfterTheNextStart(t *testing.T) {
	before := machineState(t)
	killed := begin(t, daemon)
	killed.up()
	wanted := clusterSpaces(t, killed.first())
	killed.ends(syscall.SIGKILL)
	if left := runningIn(t, wanted); len(left) == 0 {
		t.Error("the daemon is gone already: there is nothing to find")
	}
	// The state of the next is elsewhere. It is interrupted before its node is Ready, and so no success.
	next := begin(t, "echo up")
	next.first()
	if code := next.ends(syscall.SIGTERM); code != 143 {
		t.Error("it ended with ", code)
	}
	nothingLeft(t, wanted, killed, next)
	if after := machineState(t); after != before {
		t.Error("the machine has other mounts or links: ", after)
	}
}
