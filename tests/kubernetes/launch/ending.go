package launch

// What ends a cluster from outside, and the exit code that tells of it. Success is told only of what was done.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// Interrupted is the cause of an end that a signal asked for.
type Interrupted struct{ Signal syscall.Signal }

func (i Interrupted) Error() string { return "ended by " + unix.SignalName(i.Signal) }

// Ended is how a command ended that did not succeed.
type Ended struct{ Status syscall.WaitStatus }

func (e Ended) Error() string {
	if e.Status.Signaled() {
		return "the command was ended by " + unix.SignalName(e.Status.Signal())
	}
	return fmt.Sprintf("the command ended with %d", e.Status.ExitStatus())
}

var errOrphaned = errors.New("the process that started this one ended")

// ExitCode is what a shell would say: a command's own code, 128 and the signal's number after a signal, 1 for any other failure.
func ExitCode(err error) int {
	var interrupted Interrupted
	var ended Ended
	switch {
	case err == nil:
		return 0
	case errors.As(err, &interrupted):
		return 128 + int(interrupted.Signal)
	case errors.As(err, &ended) && ended.Status.Signaled():
		return 128 + int(ended.Status.Signal())
	case errors.As(err, &ended):
		return ended.Status.ExitStatus()
	}
	return 1
}

// Ending is a context that the first signal ends, or the end of our parent, which had this number when it started us.
func Ending(parent int) (context.Context, error) {
	gone, err := gone(parent)
	if err != nil {
		return nil, fmt.Errorf("watch the process %d that started this one: %w", parent, err)
	}
	ctx, end := context.WithCancelCause(context.Background())
	// Whoever is our parent now did not start us.
	if os.Getppid() != parent {
		end(errOrphaned)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	go func() {
		select {
		case received := <-signals:
			end(Interrupted{received.(syscall.Signal)})
		case <-gone:
			end(errOrphaned)
		}
	}()
	return ctx, nil
}

// gone is closed when that process has ended.
func gone(process int) (<-chan struct{}, error) {
	// What we are told is 0 lives outside of our process namespace, which ends us when it ends.
	if process == 0 {
		return nil, nil
	}
	gone := make(chan struct{})
	handle, err := unix.PidfdOpen(process, 0)
	if errors.Is(err, unix.ESRCH) {
		close(gone)
		return gone, nil
	}
	if err != nil {
		return nil, err
	}
	go func() {
		defer unix.Close(handle)
		for {
			_, err := unix.Poll([]unix.PollFd{{Fd: int32(handle), Events: unix.POLLIN}}, -1)
			if err != unix.EINTR {
				close(gone)
				return
			}
		}
	}()
	return gone, nil
}
