package launch

// What the machine must have, said at once and with the package that brings it.

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"podgate.test/kubernetes/images"
)

// plugins is where Debian keeps the CNI plugins.
const plugins = "/usr/lib/cni"

var needs = []images.Need{
	{Program: "containerd", Package: "containerd"},
	{Program: "ctr", Package: "containerd"},
	{Program: "containerd-shim-runc-v2", Package: "containerd"},
	{Program: "runc", Package: "runc"},
	{Program: "ip", Package: "iproute2"},
	{Program: "iptables", Package: "iptables"},
	{Program: "nsenter", Package: "util-linux"},
	{Program: plugins + "/bridge", Package: "containernetworking-plugins"},
	{Program: plugins + "/host-local", Package: "containernetworking-plugins"},
	{Program: plugins + "/loopback", Package: "containernetworking-plugins"},
}

// Check names everything that this machine lacks in one error, with the line that installs it.
func Check() error {
	if os.Geteuid() != 0 {
		return errors.New("the cluster makes namespaces, mounts and cgroups: run it as root")
	}
	missing := images.Missing()
	for _, need := range needs {
		if _, err := exec.LookPath(need.Program); err != nil {
			missing = append(missing, need)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	var programs, packages []string
	for _, need := range missing {
		programs = append(programs, need.Program)
		packages = append(packages, need.Package)
	}
	slices.Sort(packages)
	return fmt.Errorf("this machine lacks %s\ninstall with: apt-get install --no-install-recommends %s",
		strings.Join(programs, ", "), strings.Join(slices.Compact(packages), " "))
}
