package images

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"strings"
)

// The instructions of deploy/guest.Dockerfile, carried out without a container engine: its base is made of Debian packages,
// and of its commands those that such a file has are known, with these options. Anything else is an error.

// slimPackages are what debian:bookworm-slim has programs from. The machine's own Debian stands for it.
var slimPackages = []string{
	"base-files", "bash", "bsdutils", "coreutils", "dash", "debianutils", "diffutils", "findutils", "grep", "gzip", "hostname",
	"libc-bin", "login", "mawk", "ncurses-base", "ncurses-bin", "passwd", "sed", "tar", "util-linux",
}

// installation is how the file installs packages.
const installation = "apt-get install -y --no-install-recommends "

// dockerRecipe makes the image that a Dockerfile describes.
func dockerRecipe(name, text string) (recipe, error) {
	r := recipe{Name: name, Defaults: settings{Env: []string{searchPath}}, files: tree{}}
	for _, line := range instructions(text) {
		word, rest, _ := strings.Cut(line, " ")
		rest = strings.TrimSpace(rest)
		var err error
		switch word {
		case "FROM":
			err = r.from(rest)
		case "RUN":
			for command := range strings.SplitSeq(rest, "&&") {
				if err == nil {
					err = r.run(strings.TrimSpace(command))
				}
			}
		case "USER":
			r.Defaults.User = rest
		case "WORKDIR":
			r.Defaults.WorkingDir = rest
		case "CMD":
			err = json.Unmarshal([]byte(rest), &r.Defaults.Cmd)
		default:
			err = fmt.Errorf("the instruction is not known here")
		}
		if err != nil {
			return recipe{}, fmt.Errorf("%s: %w", line, err)
		}
	}
	return r, nil
}

// instructions are the lines without comments, each with those that continue it.
func instructions(text string) []string {
	var found []string
	continued := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		line, more := strings.CutSuffix(line, "\\")
		if continued {
			found[len(found)-1] += " " + strings.TrimSpace(line)
		} else {
			found = append(found, strings.TrimSpace(line))
		}
		continued = more
	}
	return found
}

func (r *recipe) from(base string) error {
	if base != "debian:bookworm-slim" {
		return fmt.Errorf("the base is not known here")
	}
	r.Debian.Names = append(r.Debian.Names, slimPackages...)
	r.Defaults.Cmd = []string{"bash"}
	r.files.file("etc/passwd", 0o644, []byte(
		"root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"))
	r.files.file("etc/group", 0o644, []byte("root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"))
	r.files.file("etc/nsswitch.conf", 0o644, []byte("passwd: files\ngroup: files\nhosts: files dns\n"))
	r.files.folder("root", 0o700, 0)
	r.files.folder("home", 0o755, 0)
	r.files.folder("tmp", 0o1777, 0)
	r.files.folder("var/tmp", 0o1777, 0)
	r.files.folder("run", 0o755, 0)
	return nil
}

func (r *recipe) run(command string) error {
	if names, is := strings.CutPrefix(command, installation); is {
		r.Debian.Names = append(r.Debian.Names, strings.Fields(names)...)
		return nil
	}
	words := strings.Fields(command)
	switch {
	case command == "apt-get update", command == "rm -rf /var/lib/apt/lists/*":
		// The second takes away what the first brings.
		return nil
	case words[0] == "groupadd", words[0] == "useradd":
		return r.add(words[0], words[1:])
	}
	return fmt.Errorf("the command %q is not known here", command)
}

// add does what groupadd and useradd do.
func (r *recipe) add(program string, words []string) error {
	options := flag.NewFlagSet(program, flag.ContinueOnError)
	options.SetOutput(io.Discard)
	uid, gid := options.Int("uid", -1, ""), options.Int("gid", -1, "")
	home := options.Bool("create-home", false, "")
	shell := options.String("shell", "/bin/sh", "")
	if err := options.Parse(words); err != nil {
		return err
	}
	name := options.Arg(0)
	if options.NArg() != 1 || *gid < 0 || (program == "useradd") != (*uid >= 0) {
		return fmt.Errorf("%s needs one name and its numbers", program)
	}
	if program == "groupadd" {
		r.appendLine("etc/group", fmt.Sprintf("%s:x:%d:", name, *gid))
		return nil
	}
	r.appendLine("etc/passwd", fmt.Sprintf("%s:x:%d:%d::/home/%s:%s", name, *uid, *gid, name, *shell))
	if *home {
		r.files.put("home/"+name, entry{kind: '5', mode: 0o700, uid: *uid, gid: *gid})
	}
	return nil
}

func (r *recipe) appendLine(file, line string) {
	r.files.file(file, 0o644, append(r.files[file].body, line+"\n"...))
}
