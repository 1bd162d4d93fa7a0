package launch

// Whose the cgroups on this machine are. A living cluster holds a lock on each of its own, and the kernel drops it with the outermost
// process however that ends. So a start finds what any run left, wherever that had its state, and never touches what is in use.

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// claim makes the named cgroup and holds it until the file is closed. A name that another holds is refused.
func (h hierarchy) claim(cgroup string) (*os.File, error) {
	guard, err := lockFolder(h.folder, unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	defer guard.Close()
	if err := h.make(cgroup); err != nil {
		return nil, err
	}
	return lockFolder(h.folder+cgroup, unix.LOCK_EX|unix.LOCK_NB)
}

// sweep removes the cgroups of that prefix which nobody holds, with the processes in them.
func (h hierarchy) sweep(prefix string) error {
	// Between the making of a cgroup and its lock no other may look at it.
	guard, err := lockFolder(h.folder, unix.LOCK_EX)
	if err != nil {
		return err
	}
	defer guard.Close()
	folders, err := filepath.Glob(h.folder + prefix + "*")
	for _, folder := range folders {
		lock, failed := lockFolder(folder, unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(failed, unix.EWOULDBLOCK) || errors.Is(failed, fs.ErrNotExist) {
			continue
		}
		if failed == nil {
			failed = removeCgroup(folder)
			lock.Close()
		}
		err = errors.Join(err, failed)
	}
	return err
}

// lockFolder opens a folder and locks it for as long as it is open.
func lockFolder(path string, how int) (*os.File, error) {
	folder, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(folder.Fd()), how); err != nil {
		folder.Close()
		return nil, &fs.PathError{Op: "lock", Path: path, Err: err}
	}
	return folder, nil
}

// removeCgroup removes a cgroup with all below it, and kills what is in them. They stay busy for a moment after their last process ended,
// and the kernel tells nobody when that is over.
func removeCgroup(folder string) error {
	return until(5*time.Second, func() error {
		signalAll(folder, syscall.SIGKILL)
		below, err := cgroupsBelow(folder)
		for _, one := range slices.Backward(below) {
			if failed := syscall.Rmdir(one); failed != nil && !errors.Is(failed, fs.ErrNotExist) {
				err = errors.Join(err, &fs.PathError{Op: "remove", Path: one, Err: failed})
			}
		}
		return err
	})
}

// cgroupsBelow lists a cgroup and all below it, each after its parent. One that is gone by now has none.
func cgroupsBelow(folder string) ([]string, error) {
	var folders []string
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && entry.IsDir() {
			folders = append(folders, path)
		}
		return err
	})
	return folders, err
}

// members are the processes in a cgroup and all below it.
func members(folder string) []int {
	var all []int
	folders, _ := cgroupsBelow(folder)
	for _, one := range folders {
		text, _ := os.ReadFile(filepath.Join(one, "cgroup.procs"))
		for _, word := range strings.Fields(string(text)) {
			// 0 is one whose number is not known here, and to kill(2) it would be us.
			if process, err := strconv.Atoi(word); err == nil && process > 0 {
				all = append(all, process)
			}
		}
	}
	return all
}

// signalAll sends the signals to all that is in a cgroup. What has ended meanwhile needs none.
func signalAll(folder string, signals ...syscall.Signal) {
	for _, process := range members(folder) {
		for _, signal := range signals {
			_ = syscall.Kill(process, signal)
		}
	}
}

// until asks again until there is no error, or so long.
func until(long time.Duration, ask func() error) error {
	deadline := time.Now().Add(long)
	for {
		err := ask()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}
