package launch

// The state folder as one cluster's own. A start removes what it holds, so a folder is taken only if it was empty, or has the marker that
// an earlier cluster wrote into it before anything else.

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

const (
	marker     = "podgate-test-cluster"
	markerText = "A Podgate test cluster keeps its state in this folder: a start removes all but the logs.\n"
	lockName   = "lock"
	// longestPath is what the kernel's 107 bytes for a socket's path leave, when the kubelet has added its own.
	longestPath = 107 - len("/kubelet/device-plugins/kubelet.sock")
)

// kept are the files that outlive a run: ours, and those for whoever wants to know what happened.
var kept = []string{marker, lockName, "logs", "audit-1.log", "audit-2.log"}

// Take makes the folder this process's, until the file is closed or the process ends. It refuses one with foreign files, and one that
// another cluster uses.
func Take(state State) (*os.File, error) {
	if len(state) > longestPath {
		return nil, fmt.Errorf("%s is too long a path for the sockets in it: name a folder of at most %d letters with --state", state, longestPath)
	}
	if err := os.MkdirAll(string(state), 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(string(state))
	if err != nil {
		return nil, err
	}
	marked := slices.ContainsFunc(entries, func(entry os.DirEntry) bool { return entry.Name() == marker })
	if len(entries) > 0 && !marked {
		return nil, fmt.Errorf("%s holds files that no test cluster made, such as %s, and a start would remove them: "+
			"name a new or an empty folder with --state", state, entries[0].Name())
	}
	if err := os.WriteFile(state.path(marker), []byte(markerText), 0o644); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(state.path(lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("another cluster uses %s", state)
	}
	return lock, nil
}

// empty removes all but what is kept.
func (s State) empty() error {
	entries, err := os.ReadDir(string(s))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !slices.Contains(kept, entry.Name()) {
			err = errors.Join(err, os.RemoveAll(s.path(entry.Name())))
		}
	}
	return err
}
