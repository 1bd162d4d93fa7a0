package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Debian packages as files alone: apt resolves and downloads them as if nothing were installed, dpkg-deb unpacks them, and
// no script of theirs runs, so neither a chroot nor a right is needed. What a script would have made, the recipe makes.

// packages name what is taken from Debian: with all that they depend on, or each one alone.
type packages struct {
	Names []string
	Alone bool
}

// left are the folders, a star for any name, that no test reads. Making files is most of what an import costs.
var left = []string{
	"boot", "usr/games", "usr/lib/*/gconv", "usr/lib/*/perl", "usr/lib/systemd", "usr/lib/udev",
	"usr/share/X11", "usr/share/bash-completion", "usr/share/bug", "usr/share/common-licenses", "usr/share/doc",
	"usr/share/gitweb", "usr/share/info", "usr/share/lintian", "usr/share/locale", "usr/share/man", "usr/share/perl",
	"usr/share/perl5", "usr/share/usrmerge", "usr/share/zoneinfo/posix", "usr/share/zoneinfo/right", "usr/share/zsh",
	"var/cache", "var/lib/dpkg",
}

// merged are the folders that Debian has in /usr, with a link where they were.
var merged = []string{"bin", "lib", "lib32", "lib64", "libx32", "sbin"}

// debianTree downloads packages into a folder of work and unpacks them.
func debianTree(ctx context.Context, wanted packages, work string) (tree, error) {
	files := tree{}
	for _, name := range merged {
		files.folder("usr/"+name, 0o755, 0)
		files.symlink(name, "usr/"+name)
	}
	archives := filepath.Join(work, "archives")
	if err := download(ctx, wanted, archives); err != nil {
		return nil, err
	}
	found, err := filepath.Glob(filepath.Join(archives, "*.deb"))
	if err != nil {
		return nil, err
	}
	for _, archive := range found {
		content, err := output(exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", archive))
		if err == nil {
			err = files.unpack(bytes.NewReader(content), kept)
		}
		if err != nil {
			return nil, fmt.Errorf("unpack %s: %w", filepath.Base(archive), err)
		}
	}
	settle(files)
	return files, nil
}

// settle makes what the packages' scripts would have made of their own files: the links of Debian's alternatives and the
// bundle of certificates.
func settle(files tree) {
	for name, target := range map[string]string{"awk": "mawk", "nc": "nc.openbsd", "which": "which.debianutils"} {
		if _, there := files["usr/bin/"+target]; there {
			files.symlink("usr/bin/"+name, target)
		}
	}
	var bundle []byte
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasPrefix(name, "usr/share/ca-certificates/") {
			bundle = append(bundle, files[name].body...)
		}
	}
	if len(bundle) > 0 {
		files.file("etc/ssl/certs/ca-certificates.crt", 0o644, bundle)
	}
}

func kept(name string) bool {
	parts := strings.Split(name, "/")
	return !slices.ContainsFunc(left, func(folder string) bool {
		depth := strings.Count(folder, "/") + 1
		if len(parts) <= depth {
			return false
		}
		inside, err := path.Match(folder, path.Join(parts[:depth]...))
		return err == nil && inside
	})
}

// download has apt put the packages' archives into a folder. Nothing of the machine's own apt is written: status, caches and
// locks are elsewhere or off; sources, keys and lists are the machine's.
func download(ctx context.Context, wanted packages, archives string) error {
	cache := filepath.Join(filepath.Dir(archives), "apt")
	for _, folder := range []string{filepath.Join(archives, "partial"), cache} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	arguments := []string{
		"-qq", "-y", "-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=root", "-o", "APT::Install-Recommends=0",
		"-o", "Dir::State::status=/dev/null", "-o", "Dir::State::extended_states=/dev/null",
		"-o", "Dir::Cache=" + cache, "-o", "Dir::Cache::archives=" + archives, "-o", "Acquire::Retries=3",
	}
	if wanted.Alone {
		arguments = append(arguments, "download")
	} else {
		arguments = append(arguments, "--download-only", "install")
	}
	command := exec.CommandContext(ctx, "apt-get", append(arguments, wanted.Names...)...)
	command.Dir = archives
	if _, err := output(command); err != nil {
		return fmt.Errorf("download Debian packages (are the lists fresh? apt-get update): %w", err)
	}
	return nil
}

// output runs a command and returns what it printed; its error says what it complained of.
func output(command *exec.Cmd) ([]byte, error) {
	printed, err := command.Output()
	if err == nil {
		return printed, nil
	}
	var ended *exec.ExitError
	if errors.As(err, &ended) && len(ended.Stderr) > 0 {
		return nil, fmt.Errorf("%s: %w: %s", filepath.Base(command.Path), err, bytes.TrimSpace(ended.Stderr))
	}
	return nil, fmt.Errorf("%s: %w", filepath.Base(command.Path), err)
}
