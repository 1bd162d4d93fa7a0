package machine

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestEverythingThatIsMissingIsSaidInOneLineThatInstallsIt(t *testing.T) {
	all := missing(func(string) (string, error) { return "", exec.ErrNotFound })
	if !slices.Equal(all, needs) {
		t.Fatal(all)
	}
	said := lack(all).Error()
	if !strings.HasSuffix(said, " containerd containernetworking-plugins iproute2 iptables runc util-linux") {
		t.Error(said)
	}
	for _, need := range needs {
		if !strings.Contains(said, need.Program) {
			t.Error(need.Program, "is not in", said)
		}
	}
}

func TestOnlyWhatIsMissingIsSaid(t *testing.T) {
	some := missing(func(program string) (string, error) {
		if program == "runc" {
			return "", exec.ErrNotFound
		}
		return "/usr/bin/" + program, nil
	})
	if said := lack(some).Error(); said != "this machine lacks runc\ninstall with: apt-get install --no-install-recommends runc" {
		t.Error(said)
	}
	if err := lack(nil); err != nil {
		t.Error(err)
	}
}
