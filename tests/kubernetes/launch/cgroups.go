package launch

// The cluster's own root of every cgroup hierarchy: whatever it makes there is below one parent, sees no other, and goes with it.

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// hierarchy is one mounted tree of cgroups.
type hierarchy struct {
	folder string
	// kind and controllers are what a mount of it says: `cgroup` with controllers or a name, or `cgroup2`.
	kind, controllers string
}

// hierarchies reads the machine's from the mounts (proc_pid_mountinfo(5)).
func hierarchies() ([]hierarchy, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var all []hierarchy
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		first, second, _ := strings.Cut(lines.Text(), " - ")
		where, what := strings.Fields(first), strings.Fields(second)
		if len(where) < 5 || len(what) < 3 || !strings.HasPrefix(what[0], "cgroup") {
			continue
		}
		options := slices.DeleteFunc(strings.Split(what[2], ","), func(option string) bool { return option == "rw" || option == "ro" })
		all = append(all, hierarchy{where[4], what[0], strings.Join(options, ",")})
	}
	return all, lines.Err()
}

// ownCgroups moves this process below the parent in every hierarchy, and makes that the root of all it can see from now on.
func ownCgroups(parent string) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, it := range all {
		if err := it.join(parent); err != nil {
			return fmt.Errorf("%s: %w", it.folder, err)
		}
	}
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return err
	}
	for _, it := range all {
		options := it.controllers
		if it.kind == "cgroup2" {
			options = ""
		}
		// The kernel refuses a file system on top of itself.
		if err := unix.Unmount(it.folder, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", it.folder, err)
		}
		if err := unix.Mount("cgroup", it.folder, it.kind, 0, options); err != nil {
			return fmt.Errorf("mount %s: %w", it.folder, err)
		}
		// A cgroup of version 2 has either processes or controllers for its children, and the pods want controllers.
		if it.kind == "cgroup2" {
			if err := errors.Join(it.make("/parts"), it.join("/parts")); err != nil {
				return err
			}
		}
	}
	return nil
}

// make makes a cgroup that can take processes.
func (h hierarchy) make(cgroup string) error {
	folder := h.folder + cgroup
	if err := os.Mkdir(folder, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	// A new cpuset of version 1 has neither processors nor memory, and takes no process before it has both.
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		parents, err := os.ReadFile(filepath.Join(filepath.Dir(folder), name))
		if h.kind != "cgroup" || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(folder, name), parents, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// join moves this process into a cgroup that is there.
func (h hierarchy) join(cgroup string) error {
	return os.WriteFile(filepath.Join(h.folder+cgroup, "cgroup.procs"), []byte("0"), 0)
}
