// Package machine says what this machine lacks for a cluster. It imports little, so that the question is answered in seconds, before
// minutes of a build.
package machine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"podgate.test/kubernetes/images"
)

// Plugins is where Debian keeps the CNI plugins.
const Plugins = "/usr/lib/cni"

var needs = []images.Need{
	{Program: "containerd", Package: "containerd"},
	{Program: "ctr", Package: "containerd"},
	{Program: "containerd-shim-runc-v2", Package: "containerd"},
	{Program: "runc", Package: "runc"},
	{Program: "ip", Package: "iproute2"},
	{Program: "iptables", Package: "iptables"},
	{Program: "nsenter", Package: "util-linux"},
	{Program: Plugins + "/bridge", Package: "containernetworking-plugins"},
	{Program: Plugins + "/host-local", Package: "containernetworking-plugins"},
	{Program: Plugins + "/loopback", Package: "containernetworking-plugins"},
}

// Check names everything that this machine lacks in one error, with the line that installs it.
func Check() error {
	if os.Geteuid() != 0 {
		return errors.New("the cluster makes namespaces, mounts and cgroups: run it as root")
	}
	return lack(Missing())
}

// Missing is what is not installed.
func Missing() []images.Need {
	return append(images.Missing(), missing(exec.LookPath)...)
}

func missing(look func(program string) (string, error)) []images.Need {
	return slices.DeleteFunc(slices.Clone(needs), func(need images.Need) bool {
		_, err := look(need.Program)
		return err == nil
	})
}

// Packages are those that have what is missing, each once.
func Packages(missing []images.Need) []string {
	var packages []string
	for _, need := range missing {
		packages = append(packages, need.Package)
	}
	slices.Sort(packages)
	return slices.Compact(packages)
}

func lack(missing []images.Need) error {
	if len(missing) == 0 {
		return nil
	}
	var programs []string
	for _, need := range missing {
		programs = append(programs, need.Program)
	}
	return fmt.Errorf("this machine lacks %s\ninstall with: apt-get install --no-install-recommends %s",
		strings.Join(programs, ", "), strings.Join(Packages(missing), " "))
}
