package main

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"
)

func TestEveryChildThatEndedIsReaped(t *testing.T) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	defer signal.Stop(ended)
	for range 3 {
		if err := exec.Command("true").Start(); err != nil {
			t.Fatal(err)
		}
	}
	for {
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Fatal("a child that ended is still there")
		}
		reap()
		if _, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); errors.Is(err, syscall.ECHILD) {
			return
		}
	}
}

func TestProbeEndsAsItIsTold(t *testing.T) {
	for code, wanted := range map[string]int{"0": 0, "255": 255, "256": 64, "-1": 64, "": 64} {
		if got := probe(code, nil); got != wanted {
			t.Errorf("probe %q ends with %d", code, got)
		}
	}
}
