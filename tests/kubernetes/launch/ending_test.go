package launch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

func TestExitCodeIsWhatAShellWouldSay(t *testing.T) {
	left := errors.New("a cgroup is left")
	for _, it := range []struct {
		err  error
		code int
	}{
		{nil, 0},
		{left, 1},
		{errOrphaned, 1},
		{Ended{3 << 8}, 3},
		{Ended{syscall.WaitStatus(syscall.SIGKILL)}, 137},
		{errors.Join(Ended{3 << 8}, left), 3},
		{fmt.Errorf("before the node was Ready: %w", Interrupted{syscall.SIGTERM}), 143},
		{errors.Join(Interrupted{syscall.SIGINT}, Ended{1 << 8}), 130},
		// A program of ours that failed is not the command.
		{fmt.Errorf("apt-get: %w", exec.Command("false").Run()), 1},
	} {
		if code := ExitCode(it.err); code != it.code {
			t.Errorf("%v: %d, not %d", it.err, code, it.code)
		}
	}
}

func TestClusterThatIsInterruptedBeforeItIsReadyIsNoSuccess(t *testing.T) {
	ctx, end := context.WithCancelCause(t.Context())
	end(Interrupted{syscall.SIGTERM})
	c := &cluster{ready: make(chan struct{}), ended: make(chan struct{})}
	err := c.serve(ctx, func(context.Context) error { t.Error("the command ran"); return nil })
	if ExitCode(err) != 143 {
		t.Fatal(err)
	}
}

func TestClusterThatEndsByItselfIsNoSuccess(t *testing.T) {
	c := &cluster{ready: make(chan struct{}), ended: make(chan struct{}), err: errors.New("exit status 3")}
	close(c.ready)
	err := c.serve(t.Context(), func(over context.Context) error {
		close(c.ended)
		<-over.Done()
		return nil
	})
	if ExitCode(err) != 1 {
		t.Fatal(err)
	}
}

func TestEndOfAProcessIsNoticedBeforeAndAfterTheLook(t *testing.T) {
	child := exec.Command("cat")
	stdin, err := child.StdinPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	living, err := gone(child.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-living:
		t.Error("a living process is gone")
	default:
	}
	stdin.Close()
	wait(t, living)
	if err := child.Wait(); err != nil {
		t.Fatal(err)
	}
	dead, err := gone(child.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	wait(t, dead)
}

func TestParentThatEndedBeforeTheStartEndsTheCluster(t *testing.T) {
	ctx, err := Ending(os.Getpid()) // which is not our parent
	if err != nil {
		t.Fatal(err)
	}
	wait(t, ctx.Done())
	if context.Cause(ctx) != errOrphaned {
		t.Fatal(context.Cause(ctx))
	}
}

func wait(t *testing.T, event <-chan struct{}) {
	t.Helper()
	select {
	case <-event:
	case <-time.After(10 * time.Second):
		t.Fatal("not within 10 s")
	}
}
