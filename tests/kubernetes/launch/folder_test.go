package launch

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// newState is a folder that is not there yet, with a short path.
func newState(t *testing.T) State {
	t.Helper()
	folder, err := os.MkdirTemp("", "podgate-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	state, err := Resolve(filepath.Join(folder, "state"))
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func write(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestFolderOfAnotherIsRefusedUntouched(t *testing.T) {
	state := newState(t)
	write(t, state.path("thesis.txt"))
	_, err := Take(state)
	if err == nil || !strings.Contains(err.Error(), string(state)) || !strings.Contains(err.Error(), "thesis.txt") {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(string(state))
	if err != nil || len(entries) != 1 {
		t.Fatal(entries, err)
	}
}

func TestFolderWithAPathThatIsTooLongForSocketsIsRefused(t *testing.T) {
	state := newState(t)
	state += State("/" + strings.Repeat("a", longestPath-len(state)-1))
	held, err := Take(state)
	if err != nil {
		t.Fatal(err)
	}
	held.Close()
	if _, err := Take(state + "a"); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Fatal(err)
	}
}

func TestEmptyFolderIsTakenAndNotWhileAnotherHasIt(t *testing.T) {
	state := newState(t)
	if err := os.Mkdir(string(state), 0o755); err != nil {
		t.Fatal(err)
	}
	held, err := Take(state)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Take(state); err == nil || !strings.Contains(err.Error(), "another cluster") {
		t.Fatal(err)
	}
	held.Close()
	again, err := Take(state)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func TestFolderOfAnEarlierClusterIsTakenAndKeepsOnlyLogs(t *testing.T) {
	state := newState(t)
	first, err := Take(state)
	if err != nil {
		t.Fatal(err)
	}
	first.Close()
	write(t, state.path("etcd", "member"))
	write(t, state.path("logs", "etcd.log"))
	second, err := Take(state)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if err := state.empty(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(state.path("etcd")); !os.IsNotExist(err) {
		t.Error("the last run's etcd is still there", err)
	}
	for _, stays := range []string{state.log("etcd"), state.path(marker)} {
		if _, err := os.Stat(stays); err != nil {
			t.Error(err)
		}
	}
}
