package launch

// What a run leaves on the machine, and its removal: its cgroups, and the state that no one reads again.

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clean removes everything of an ended cluster but its logs. A cluster whose outermost process was killed ended with it.
func clean(state State) error {
	if err := endFirst(state); err != nil {
		return err
	}
	if err := removeCgroups(state.cgroup()); err != nil {
		return err
	}
	return state.empty()
}

// endFirst ends a first process that outlived us: there is none but in the moment after we were killed.
func endFirst(state State) error {
	text, err := os.ReadFile(state.anchor())
	if err != nil {
		return nil
	}
	process := strings.TrimSpace(string(text))
	words, err := os.ReadFile("/proc/" + process + "/cmdline")
	number, parseErr := strconv.Atoi(process)
	if err != nil || parseErr != nil || !strings.Contains(string(words), "\x00"+string(state)+"\x00") {
		return nil // it is gone, or the number is another's by now
	}
	if err := syscall.Kill(number, syscall.SIGKILL); err != nil {
		return nil
	}
	return until(5*time.Second, func() error {
		if _, err := os.Stat("/proc/" + process); err == nil {
			return errors.New("the last run's first process does not end")
		}
		return nil
	})
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
