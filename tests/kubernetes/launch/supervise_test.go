package launch

import (
	"bufio"
	"context"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// supervised is a supervisor of one part, `it`, each start of which tells its process.
type supervised struct {
	*supervisor
	t      *testing.T
	starts *bufio.Reader
}

func supervise(t *testing.T, restarts bool, pause time.Duration) supervised {
	t.Helper()
	state := newState(t)
	write(t, state.log("it"))
	if err := syscall.Mkfifo(state.path("starts"), 0o600); err != nil {
		t.Fatal(err)
	}
	starts, err := os.OpenFile(state.path("starts"), os.O_RDWR, 0)
	if err == nil {
		err = starts.SetReadDeadline(time.Now().Add(20 * time.Second))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { starts.Close() })
	script := "echo $$ >" + state.path("starts") + "; exec tail -f /dev/null"
	it := part{"it", []string{"sh", "-c", script}, func(context.Context) error { return nil }, restarts}
	s := &supervisor{state: state, parts: []part{it}, failed: make(chan error, 1), pause: pause, running: map[string]*running{}}
	t.Cleanup(func() { _ = s.kill("it") })
	return supervised{s, t, bufio.NewReader(starts)}
}

// ordered carries an order out that must succeed.
func (s supervised) ordered(words ...string) string {
	s.t.Helper()
	answer, err := s.order(words)
	if err != nil {
		s.t.Fatal(words, err)
	}
	return answer
}

// started is the process of the next start.
func (s supervised) started() int {
	s.t.Helper()
	line, err := s.starts.ReadString('\n')
	process, failed := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || failed != nil {
		s.t.Fatal("the part was not started: ", err, failed)
	}
	return process
}

// crash ends the part's process without an order, and returns when that is known.
func (s supervised) crash() *running {
	s.t.Helper()
	s.mutex.Lock()
	it := s.running["it"]
	s.mutex.Unlock()
	if err := it.process.Kill(); err != nil {
		s.t.Fatal(err)
	}
	wait(s.t, it.ended)
	return it
}

func (s supervised) unharmed() {
	s.t.Helper()
	select {
	case err := <-s.failed:
		s.t.Error("the cluster failed: ", err)
	default:
	}
}

func TestPartThatRestartsIsStartedAgainWhenItDies(t *testing.T) {
	s := supervise(t, true, 0)
	s.ordered("start", "it")
	first := s.started()
	s.crash()
	if second := s.started(); second == first {
		t.Error("the same process")
	}
	s.unharmed()
}

func TestDeathOfAnyOtherPartIsTheClustersFailure(t *testing.T) {
	s := supervise(t, false, 0)
	s.ordered("start", "it")
	s.started()
	s.crash()
	select {
	case err := <-s.failed:
		if !strings.Contains(err.Error(), "it ended by itself") {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the cluster did not fail")
	}
}

func TestKilledPartStaysAwayUntilItIsStarted(t *testing.T) {
	s := supervise(t, false, 0)
	s.ordered("start", "it")
	first := s.started()
	s.ordered("kill", "it")
	if status := s.ordered("status"); status != "ok" {
		t.Error(status)
	}
	if _, err := s.order([]string{"kill", "it"}); err == nil {
		t.Error("a part that does not run was killed")
	}
	s.ordered("start", "it")
	if second := s.started(); second == first {
		t.Error("the same process")
	}
	if _, err := s.order([]string{"start", "it"}); err == nil {
		t.Error("a part that runs was started")
	}
	s.unharmed()
}

func TestPartKilledInTheRestartPauseStaysAway(t *testing.T) {
	s := supervise(t, true, time.Hour)
	s.ordered("start", "it")
	s.started()
	it := s.crash()
	s.ordered("kill", "it")
	s.follow(s.parts[0], it, nil) // as after the pause
	if status := s.ordered("status"); status != "ok" {
		t.Error(status)
	}
	s.unharmed()
}

func TestPartStartedInTheRestartPauseRunsOnce(t *testing.T) {
	s := supervise(t, true, time.Hour)
	s.ordered("start", "it")
	s.started()
	it := s.crash()
	s.ordered("start", "it")
	process := s.started()
	s.follow(s.parts[0], it, nil) // as after the pause
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if now := s.running["it"]; now.process.Pid != process || !now.lives() {
		t.Error("another start took its place")
	}
	s.unharmed()
}

func TestOrderThatFailsSaysWhyOverTheSocket(t *testing.T) {
	s := supervise(t, false, 0)
	if err := s.listen(); err != nil {
		t.Fatal(err)
	}
	for _, it := range []struct {
		words []string
		said  string
	}{
		{[]string{"kill", "it"}, "it does not run"},
		{[]string{"freeze", "it"}, "it does not run"},
		{[]string{"start", "that"}, `no part is named "that"`},
		{[]string{"mend", "it"}, `no order is named "mend"`},
		{[]string{"kill"}, "an order is"},
	} {
		if err := Order(s.state, it.words); err == nil || !strings.Contains(err.Error(), it.said) {
			t.Errorf("%v: %v, not %s", it.words, err, it.said)
		}
	}
	if err := Order(s.state, []string{"start", "it"}); err != nil {
		t.Error(err)
	}
	s.started()
}
