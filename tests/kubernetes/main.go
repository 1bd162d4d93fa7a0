// Command cluster runs a Kubernetes cluster with one node for Podgate's tests, without Docker or systemd. It is a project of its own:
// a Go module with its own tests, which shares no code with Podgate. The script "cluster" builds and starts it; usage.txt lists its
// subcommands.
//
// One binary contains everything. Depending on its first argument, it is the API server, the controller manager, the scheduler, the
// kubelet, kubectl or helm, or it starts, uses and controls the cluster. The package launch supervises these parts, machine reports
// what the machine lacks for them, and images builds the container images.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"podgate.test/kubernetes/images"
	"podgate.test/kubernetes/launch"
	"podgate.test/kubernetes/machine"
)

//go:embed usage.txt
var usage string

func main() {
	if code, is := runPart(os.Args); is {
		os.Exit(code)
	}
	err := run(os.Args[1:])
	// What a command had to say of its end, it has said.
	if ended, alone := err.(launch.Ended); err != nil && !(alone && ended.Status.Exited()) {
		fmt.Fprintln(os.Stderr, "cluster:", err)
	}
	os.Exit(launch.ExitCode(err))
}

func run(words []string) error {
	if len(words) == 0 {
		return errors.New("what to do?\n" + usage)
	}
	if words[0] == "balance" && len(words) > 2 {
		return launch.Balance(words[1], words[2:])
	}
	var options launch.Options
	flags := flag.NewFlagSet("cluster", flag.ExitOnError)
	flags.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	state := flags.String("state", "", "the cluster's folder")
	whole := flags.Bool("whole", false, "the cluster's mounts and processes as well")
	parent := flags.Int("parent", os.Getppid(), "the process whose end is the cluster's, which must be our parent")
	made := images.Options{}
	flags.StringVar(&made.Module, "module", ".", "the folder of this program's source")
	flags.StringVar(&made.Gateway, "gateway", "", "the gateway's program")
	flags.StringVar(&made.Agent, "agent", "", "the guest agent's program")
	flags.StringVar(&made.WebhookServer, "webhooks", "", "the webhook server's program")
	flags.BoolVar(&options.Audit, "audit", false, "turn the API audit log on")
	flags.Func("image", "an archive to import, as the first process is told", func(file string) error {
		options.Images = append(options.Images, file)
		return nil
	})
	if err := flags.Parse(words[1:]); err != nil {
		return err
	}
	if *state == "" {
		return errors.New("--state is missing\n" + usage)
	}
	resolved, err := launch.Resolve(*state)
	if err != nil {
		return err
	}
	options.State = resolved
	switch rest := flags.Args(); {
	case words[0] == "up" && len(rest) == 0:
		return up(*parent, options, made, launch.Wait(options.State))
	case words[0] == "run" && len(rest) > 0:
		return up(*parent, options, made, launch.Run(options.State, rest))
	case words[0] == "exec" && len(rest) > 0:
		return launch.Enter(options.State, *whole, rest)
	case words[0] == "order":
		return launch.Order(options.State, rest)
	case words[0] == "first":
		return launch.First(options)
	case words[0] == "supervise":
		return launch.Supervise(options)
	}
	return errors.New("that is not how it is used\n" + usage)
}

// up brings a cluster up with all our images, and down when use returns.
func up(parent int, options launch.Options, made images.Options, use launch.Use) error {
	ctx, err := launch.Ending(parent)
	if err != nil {
		return err
	}
	if err := machine.Check(); err != nil {
		return err
	}
	folder, err := launch.Take(options.State)
	if err != nil {
		return err
	}
	defer folder.Close()
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	made.Cache = filepath.Join(cache, "podgate", "images")
	built, err := images.Build(ctx, made)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	for _, image := range built {
		options.Images = append(options.Images, image.Path)
	}
	return launch.Up(ctx, options, use)
}
