// Command pause is the program of the images that have no other. Without arguments it waits, reaps the children that others
// left to it, and ends with 0 at TERM or INT. As `pause probe CODE ARGUMENT…` it prints each argument on a line of its own
// and exits with CODE, for an image in which there is nothing else to run.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
)

func main() {
	switch {
	case len(os.Args) == 1:
		wait()
	case len(os.Args) > 2 && os.Args[1] == "probe":
		os.Exit(probe(os.Args[2], os.Args[3:]))
	default:
		fmt.Fprintln(os.Stderr, "usage: pause [probe CODE [ARGUMENT]…]")
		os.Exit(64)
	}
}

// wait returns at TERM or INT. As process 1 it is sent no signal that it does not ask for.
func wait() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCHLD)
	for received := range signals {
		if received != syscall.SIGCHLD {
			return
		}
		reap()
	}
}

// reap waits for every child that has ended: one signal may stand for many.
func reap() {
	for {
		child, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if err != syscall.EINTR && (err != nil || child <= 0) {
			return
		}
	}
}

func probe(code string, arguments []string) int {
	for _, argument := range arguments {
		fmt.Println(argument)
	}
	exit, err := strconv.ParseUint(code, 10, 8)
	if err != nil {
		fmt.Fprintf(os.Stderr, "pause: an exit code is a number from 0 to 255, not %q\n", code)
		return 64
	}
	return int(exit)
}
