package images

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The recipes: what is in which image, and what its containers start with.

const (
	searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	// userID is that of the user `user` in every image with a shell.
	userID = 1000
	// gatewayID is that of `nonroot`, the user of both of Podgate's own images.
	gatewayID = 65532
)

// guestPackages are those of Guest; what they depend on comes with them.
var guestPackages = []string{
	"base-files", "bash", "bsdutils", "coreutils", "dash", "debianutils", "diffutils", "findutils", "git", "grep", "gzip",
	"hostname", "libc-bin", "mawk", "ncurses-base", "ncurses-bin", "netcat-openbsd", "openssh-client", "openssh-sftp-server",
	"procps", "python3", "rsync", "sed", "socat", "tar", "util-linux", "xauth",
}

// runtimePackages are what deploy/'s base image has beside the program: libraries, certificates, time zones.
var runtimePackages = []string{"base-files", "ca-certificates", "libc6", "libgcc-s1", "netbase", "tzdata"}

// recipes returns all that the options have programs for, in the order of the names.
func recipes(ctx context.Context, options Options, work string) ([]recipe, error) {
	waiter, err := buildPause(ctx, options.Module, work)
	if err != nil {
		return nil, fmt.Errorf("build the sandbox's program: %w", err)
	}
	shell, err := busyboxTree(ctx)
	if err != nil {
		return nil, fmt.Errorf("busybox: %w", err)
	}
	dockerfile, err := os.ReadFile(filepath.Join(options.Module, "../../deploy/guest.Dockerfile"))
	if err != nil {
		return nil, err
	}
	example, err := dockerRecipe(Example, string(dockerfile))
	if err != nil {
		return nil, fmt.Errorf("deploy/guest.Dockerfile: %w", err)
	}
	guest := tree{}
	accounts(guest, "/bin/bash")
	wanted := []recipe{
		{Name: Pause, Defaults: settings{User: "65535:65535", Entrypoint: []string{"/pause"}}, files: single("pause", waiter)},
		{Name: Busybox, Aliases: []string{PublicBusybox}, Defaults: shellDefaults("/bin/sh", "/root", ""), files: shell},
		{
			Name: Guest, Aliases: []string{PublicDebian}, Defaults: shellDefaults("/bin/bash", "/root", ""),
			Debian: packages{Names: guestPackages}, files: guest,
		},
		{Name: Scratch, Defaults: settings{Entrypoint: []string{"/probe"}}, files: single("probe", waiter)},
		{Name: Restricted, Defaults: shellDefaults("/bin/sh", "/home/user", ids(userID)), files: shell},
		example,
	}
	for _, own := range []struct {
		name, program string
		defaults      settings
	}{
		{Podgate, options.Gateway, gatewayDefaults},
		{Webhooks, options.WebhookServer, webhookDefaults},
	} {
		if own.program == "" {
			continue
		}
		files, err := programTree(own.program, own.defaults.Entrypoint[0])
		if err != nil {
			return nil, err
		}
		if own.name == Podgate {
			if err := files.addAgent(options); err != nil {
				return nil, err
			}
		}
		debian := packages{Names: runtimePackages, Alone: true}
		wanted = append(wanted, recipe{Name: own.name, Defaults: own.defaults, Debian: debian, files: files})
	}
	return wanted, nil
}

func shellDefaults(shell, home, user string) settings {
	return settings{User: user, Env: []string{searchPath}, Cmd: []string{shell}, WorkingDir: home}
}

// gatewayDefaults are those of deploy/Dockerfile.
var gatewayDefaults = settings{
	User: ids(gatewayID), Env: runtimeEnv, WorkingDir: "/home/nonroot",
	ExposedPorts: map[string]struct{}{"2222/tcp": {}},
	Entrypoint:   []string{"/usr/local/bin/podgate"}, Cmd: []string{"--config", "/etc/podgate/config.yaml"},
}

// webhookDefaults are those of deploy/webhooks.Dockerfile.
var webhookDefaults = settings{
	User: ids(gatewayID), Env: runtimeEnv, WorkingDir: "/home/nonroot",
	ExposedPorts: map[string]struct{}{"8443/tcp": {}},
	Entrypoint:   []string{"/usr/local/bin/podgate-webhooks"},
	Cmd: []string{
		"--config", "/etc/podgate/users.yaml", "--listen", "https://0.0.0.0:8443",
		"--cert", "/etc/podgate/tls.crt", "--key", "/etc/podgate/tls.key",
	},
}

// runtimeEnv is the environment of deploy/'s base image.
var runtimeEnv = []string{searchPath, "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"}

func ids(id int) string {
	return fmt.Sprintf("%d:%d", id, id)
}

// single is a root with one program and nothing else.
func single(name string, program []byte) tree {
	files := tree{}
	files.file(name, 0o755, program)
	return files
}

// accounts adds the users of an image with a shell and their folders.
func accounts(files tree, shell string) {
	files.file("etc/passwd", 0o644, []byte(
		"root:x:0:0:root:/root:"+shell+"\n"+
			"user:x:1000:1000:user:/home/user:"+shell+"\n"+
			"nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"))
	files.file("etc/group", 0o644, []byte("root:x:0:\ntty:x:5:\nuser:x:1000:\nnogroup:x:65534:\n"))
	files.file("etc/nsswitch.conf", 0o644, []byte("passwd: files\ngroup: files\nhosts: files dns\n"))
	files.folder("root", 0o700, 0)
	files.folder("home/user", 0o755, userID)
	files.folder("tmp", 0o1777, 0)
	files.folder("var/tmp", 0o1777, 0)
	files.folder("run", 0o755, 0)
}

// busyboxTree is a root with the machine's busybox under all the names that it answers to.
func busyboxTree(ctx context.Context) (tree, error) {
	at, err := exec.LookPath("busybox")
	if err == nil {
		err = static(at)
	}
	if err != nil {
		return nil, err
	}
	program, err := os.ReadFile(at)
	if err != nil {
		return nil, err
	}
	names, err := output(exec.CommandContext(ctx, at, "--list-full"))
	if err != nil {
		return nil, err
	}
	files := tree{}
	for _, name := range strings.Fields(string(names)) {
		files.symlink(name, "/bin/busybox")
	}
	files.file("bin/busybox", 0o755, program)
	accounts(files, "/bin/sh")
	return files, nil
}

// programTree is one of our programs at its place, over the root of deploy/'s base image.
func programTree(from, to string) (tree, error) {
	program, err := os.ReadFile(from)
	if err != nil {
		return nil, err
	}
	files := tree{}
	files.file("etc/passwd", 0o644, []byte(
		"root:x:0:0:root:/root:/sbin/nologin\n"+
			"nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n"+
			"nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n"))
	files.file("etc/group", 0o644, []byte("root:x:0:\nnobody:x:65534:\ntty:x:5:\nnonroot:x:65532:\n"))
	files.file("etc/nsswitch.conf", 0o644, []byte("hosts: files dns\n"))
	files.folder("home/nonroot", 0o700, gatewayID)
	files.file(to, 0o755, program)
	return files, nil
}

// agentName is the guest agent's, beside the gateway.
const agentName = "podgate-agent"

// addAgent adds the guest agent beside the gateway, if there is one.
func (files tree) addAgent(options Options) error {
	agent, isNamed := options.Agent, options.Agent != ""
	if !isNamed {
		agent = filepath.Join(filepath.Dir(options.Gateway), agentName)
	}
	program, err := os.ReadFile(agent)
	if os.IsNotExist(err) && !isNamed {
		return nil
	}
	if err == nil {
		files.file(filepath.Join(filepath.Dir(gatewayDefaults.Entrypoint[0]), agentName), 0o755, program)
	}
	return err
}

// buildPause compiles the command pause and returns the program.
func buildPause(ctx context.Context, module, work string) ([]byte, error) {
	at := filepath.Join(work, "pause")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", at, "./pause")
	build.Dir = module
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if _, err := output(build); err != nil {
		return nil, err
	}
	return os.ReadFile(at)
}
