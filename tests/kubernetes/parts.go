package main

// The Kubernetes programs, and the store behind them, that this binary is, by its first word or by the name that it was started under.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	helmcmd "helm.sh/helm/v4/pkg/cmd"
	"helm.sh/helm/v4/pkg/kube"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// command is the program of that name, or nil.
func command(name string) *cobra.Command {
	switch name {
	case "kube-apiserver":
		return apiserver.NewAPIServerCommand()
	case "kube-controller-manager":
		return controllers.NewControllerManagerCommand()
	case "kube-scheduler":
		return scheduler.NewSchedulerCommand()
	case "kubelet":
		return kubelet.NewKubeletCommand(context.Background())
	case "kubectl":
		return kubectl.NewDefaultKubectlCommand()
	}
	return nil
}

// helm is that program, as its own main runs it.
func helm(words []string) int {
	kube.ManagedFieldsManager = "helm"
	program, err := helmcmd.NewRootCmd(os.Stdout, words[1:], helmcmd.SetupLogging)
	if err == nil {
		err = program.Execute()
	} else {
		fmt.Fprintln(os.Stderr, "helm:", err)
	}
	var failed helmcmd.CommandError
	switch {
	case errors.As(err, &failed):
		return failed.ExitCode
	case err != nil:
		return 1
	}
	return 0
}

// runPart runs the program that the words name, if they name one, and says its exit code.
func runPart(words []string) (code int, is bool) {
	it := 0
	if name := filepath.Base(words[0]); name != "helm" && command(name) == nil {
		it = 1
	}
	if it >= len(words) {
		return 0, false
	}
	name := filepath.Base(words[it])
	if name == "etcd" {
		etcdmain.Main(words[it:])
		return 0, true
	}
	if name == "helm" {
		os.Args = words[it:]
		return helm(os.Args), true
	}
	// The programs read the process's words themselves.
	os.Args = words[it:]
	program := command(name)
	if program == nil {
		os.Args = words
		return 0, false
	}
	if name != "kubectl" {
		return cli.Run(program), true
	}
	if err := cli.RunNoErrOutput(program); err != nil {
		kubectlutil.CheckErr(err)
	}
	return 0, true
}
