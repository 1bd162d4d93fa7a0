package images

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"testing"
)

func TestEmptyMachineIsToldEveryPackage(t *testing.T) {
	nothing := func(string) (string, error) { return "", exec.ErrNotFound }
	wanted := []Need{{"go", "golang-go"}, {"apt-get", "apt"}, {"dpkg-deb", "dpkg"}, {"busybox", "busybox-static"}}
	if got := missing(nothing); !slices.Equal(got, wanted) {
		t.Fatal(got)
	}
}

func TestBusyboxThatWantsLibrariesIsMissing(t *testing.T) {
	loader := func(program string) (string, error) {
		if program == "busybox" {
			return exec.LookPath("cat")
		}
		return "/bin/" + program, nil
	}
	if got := missing(loader); !slices.Equal(got, []Need{{"busybox", "busybox-static"}}) {
		t.Fatal(got)
	}
	at, err := exec.LookPath("cat")
	if err != nil || !errors.Is(static(at), errDynamic) {
		t.Fatal(err, static(at))
	}
}

func TestStaticProgramIsOne(t *testing.T) {
	at := t.TempDir() + "/pause"
	program, err := buildPause(t.Context(), "..", t.TempDir())
	if err == nil {
		err = os.WriteFile(at, program, 0o755)
	}
	if err == nil {
		err = static(at)
	}
	if err != nil {
		t.Fatal(err)
	}
}
