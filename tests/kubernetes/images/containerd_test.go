package images

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The images in a containerd of the test's own, run without Kubernetes, cgroups and network.

// engine is a running containerd.
type engine struct {
	socket string
	runs   int
}

// start runs a containerd until the test ends. Where there is none to run, the test passes by, or fails where
// PODGATE_TEST_ALL says that everything must run.
func start(t *testing.T) *engine {
	t.Helper()
	needs := Missing()
	for _, program := range []string{"containerd", "ctr", "runc"} {
		if _, err := exec.LookPath(program); err != nil {
			needs = append(needs, Need{program, program})
		}
	}
	if os.Geteuid() != 0 {
		needs = append(needs, Need{"root", "no package"})
	}
	if len(needs) > 0 {
		if os.Getenv("PODGATE_TEST_ALL") != "" {
			t.Fatalf("missing: %v", needs)
		}
		t.Skipf("missing: %v", needs)
	}
	// Not the test's own folder: a socket's path is short.
	folder, err := os.MkdirTemp("", "images-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(folder); err != nil {
			t.Error(err)
		}
	})
	socket := filepath.Join(folder, "s")
	config := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = %q\n",
		filepath.Join(folder, "root"), filepath.Join(folder, "state"), socket)
	path := filepath.Join(folder, "config.toml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	daemon := exec.Command("containerd", "--log-level", "warn", "--config", path)
	daemon.Stderr = &log
	daemon.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = daemon.Process.Signal(syscall.SIGTERM)
		_ = daemon.Wait()
		if t.Failed() {
			t.Logf("containerd: %s", log.String())
		}
	})
	e := &engine{socket: socket}
	// ctr waits for the socket by itself.
	if said, err := e.ctr(t.Context(), "--connect-timeout", "50s", "version"); err != nil {
		t.Fatalf("containerd does not answer: %v: %s", err, said)
	}
	return e
}

func (e *engine) ctr(ctx context.Context, arguments ...string) (string, error) {
	// An import waits for the disk and, at the first time, for the compiler beside it.
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	said, err := exec.CommandContext(ctx, "ctr", append([]string{"--address", e.socket}, arguments...)...).CombinedOutput()
	return string(said), err
}

// run returns what a container of the image said, and how it ended.
func (e *engine) run(t *testing.T, image string, command ...string) (string, error) {
	t.Helper()
	e.runs++
	arguments := []string{"run", "--rm", "--cgroup", "", "--read-only", image, fmt.Sprintf("run%d", e.runs)}
	return e.ctr(t.Context(), append(arguments, command...)...)
}

func TestImagesRunInContainerd(t *testing.T) {
	e := start(t)
	// The gateway's image is tried with a program that is there on every machine and wants the C library as podgate does.
	stand_in, err := exec.LookPath("cat")
	if err != nil {
		t.Fatal(err)
	}
	built, err := Build(t.Context(), Options{Cache: "../target/images", Module: "..", Gateway: stand_in, WebhookServer: stand_in})
	if err != nil {
		t.Fatal(err)
	}
	for _, image := range built {
		if said, err := e.ctr(t.Context(), "images", "import", image.Path); err != nil {
			t.Fatalf("import %s: %v: %s", image.Name, err, said)
		}
	}
	const tools = `set -e; bash -c true; git --version; rsync --version; python3 -c 'import json, ssl'; script --version
		setsid true; stty --version; ps; scp 2>&1 | grep usage; /usr/lib/openssh/sftp-server -h 2>&1 | grep usage
		awk 'BEGIN { print 1 }'; which nc socat xauth; perl -e 'use strict; use warnings'; ! ldd /usr/bin/* 2>/dev/null | grep 'not found'; pwd; id`
	for _, it := range []struct {
		image   string
		command []string
		says    string
		code    int
	}{
		{Busybox, []string{"true"}, "", 0},
		{Busybox, []string{"sh", "-c", "id -u; echo $HOME; exit 3"}, "0\n/root\n", 3},
		{Example, []string{"sh", "-c", "id -un; pwd; stat -c %U:%a ."}, "user\n/home/user\nuser:700\n", 0},
		{Restricted, []string{"sh", "-c", "id -u; pwd; ! touch a 2>/dev/null"}, "1000\n/home/user\n", 0},
		{Guest, []string{"sh", "-c", tools}, "/root\nuid=0(root) gid=0(root) groups=0(root)\n", 0},
		{Scratch, []string{"/probe", "probe", "7", "a", "b c"}, "a\nb c\n", 7},
		{Scratch, []string{"/bin/sh"}, "no such file or directory", 1},
		{Podgate, []string{"/usr/local/bin/podgate", "/etc/ssl/certs/ca-certificates.crt"}, "-----END CERTIFICATE-----\n", 0},
		{Webhooks, []string{"/usr/local/bin/podgate-webhooks", "/usr/share/zoneinfo/Europe/Berlin"}, "CET-1CEST", 0},
	} {
		said, err := e.run(t, it.image, it.command...)
		code := 0
		if ended, failed := err.(*exec.ExitError); failed {
			code = ended.ExitCode()
		}
		if code != it.code || !strings.Contains(said, it.says) {
			t.Errorf("%s %q ended with %d and said: %s", it.image, it.command, code, said)
		}
	}
	const sandbox = "sandbox"
	if said, err := e.ctr(t.Context(), "run", "--detach", "--cgroup", "", Pause, sandbox); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	// A task is not removed before it has ended, which is a moment after the signal was sent; one that came before the program
	// took signals is lost, since Linux sends none to the first process of a container that does not.
	for deadline := time.Now().Add(time.Minute); ; {
		killed, _ := e.ctr(t.Context(), "task", "kill", "--signal", "TERM", sandbox)
		said, err := e.ctr(t.Context(), "task", "rm", sandbox)
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the sandbox's program does not end at TERM: %v: %s%s", err, killed, said)
		}
	}
	if said, err := e.ctr(t.Context(), "container", "rm", sandbox); err != nil {
		t.Errorf("%v: %s", err, said)
	}
}
