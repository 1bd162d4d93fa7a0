package images

import (
	"debug/elf"
	"errors"
	"os/exec"
)

// Need is a program that building the images takes and this machine does not have.
type Need struct {
	Program string
	// Package is the Debian package that has it.
	Package string
}

var errDynamic = errors.New("not a static program")

// Missing returns what to install before Build can succeed.
func Missing() []Need {
	return missing(exec.LookPath)
}

func missing(look func(program string) (string, error)) []Need {
	var needs []Need
	for _, need := range []Need{{"go", "golang-go"}, {"apt-get", "apt"}, {"dpkg-deb", "dpkg"}} {
		if _, err := look(need.Program); err != nil {
			needs = append(needs, need)
		}
	}
	at, err := look("busybox")
	if err == nil {
		err = static(at)
	}
	if err != nil {
		needs = append(needs, Need{"busybox", "busybox-static"})
	}
	return needs
}

// static returns no error for a program that runs without a loader and libraries.
func static(path string) error {
	program, err := elf.Open(path)
	if err != nil {
		return err
	}
	defer program.Close()
	for _, part := range program.Progs {
		if part.Type == elf.PT_INTERP {
			return errDynamic
		}
	}
	return nil
}
