package images

import (
	"archive/tar"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// tree is a root file system in memory, written as one layer. Paths are relative to the root and clean; every entry's folder
// is an entry before it; a folder of the root that is a link is followed, so that a package's /bin/sh lands in /usr/bin.
type tree map[string]entry

type entry struct {
	kind     byte // of archive/tar
	mode     int64
	uid, gid int
	link     string
	body     []byte
}

// stamp is the time of every file: the same content makes the same image on every day.
var stamp = time.Date(2024, time.January, 1, 0, 0, 0, 0, time.UTC)

// place is where a path lands: through the links among the root's folders.
func (t tree) place(name string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	first, rest, below := strings.Cut(name, "/")
	if at := t[first]; below && at.kind == tar.TypeSymlink {
		return path.Join(at.link, rest)
	}
	return name
}

// put sets an entry and makes the folders above it.
func (t tree) put(name string, e entry) {
	name = t.place(name)
	if name == "" {
		return
	}
	if e.kind == tar.TypeDir && t[name].kind == tar.TypeSymlink {
		return
	}
	if above := path.Dir(name); above != "." && t[above].kind == 0 {
		t.folder(above, 0o755, 0)
	}
	t[name] = e
}

// folder makes a folder that belongs to the user and group id.
func (t tree) folder(name string, mode int64, id int) {
	t.put(name, entry{kind: tar.TypeDir, mode: mode, uid: id, gid: id})
}

// file makes a file of root's.
func (t tree) file(name string, mode int64, body []byte) {
	t.put(name, entry{kind: tar.TypeReg, mode: mode, body: body})
}

// symlink makes name a link to target.
func (t tree) symlink(name, target string) {
	t.put(name, entry{kind: tar.TypeSymlink, mode: 0o777, link: target})
}

// unpack adds what keep accepts of a tar's files; a later one takes the place of an earlier one.
func (t tree) unpack(from io.Reader, keep func(name string) bool) error {
	files := tar.NewReader(from)
	for {
		header, err := files.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		name := t.place(header.Name)
		if !keep(name) {
			continue
		}
		e := entry{kind: header.Typeflag, mode: header.Mode, uid: header.Uid, gid: header.Gid, link: header.Linkname}
		switch e.kind {
		case tar.TypeReg:
			if e.body, err = io.ReadAll(files); err != nil {
				return err
			}
		case tar.TypeLink:
			e.link = t.place(e.link)
		case tar.TypeDir, tar.TypeSymlink:
		default:
			return fmt.Errorf("%s is neither a file nor a folder nor a link", name)
		}
		t.put(name, e)
	}
}

// overlay adds the entries of another tree; they take the place of those that are there.
func (t tree) overlay(other tree) {
	for _, name := range slices.Sorted(maps.Keys(other)) {
		t.put(name, other[name])
	}
}

// write writes the tree as a tar: sorted, but hard links last, since what they name must come before them.
func (t tree) write(to io.Writer) error {
	out := tar.NewWriter(to)
	names := slices.Sorted(maps.Keys(t))
	slices.SortStableFunc(names, func(a, b string) int { return linkRank(t[a]) - linkRank(t[b]) })
	for _, name := range names {
		e := t[name]
		header := &tar.Header{
			Name: name, Typeflag: e.kind, Linkname: e.link, Mode: e.mode, Uid: e.uid, Gid: e.gid,
			Size: int64(len(e.body)), ModTime: stamp,
		}
		if e.kind == tar.TypeDir {
			header.Name += "/"
		}
		if err := out.WriteHeader(header); err != nil {
			return err
		}
		if _, err := out.Write(e.body); err != nil {
			return err
		}
	}
	return out.Close()
}

func linkRank(e entry) int {
	if e.kind == tar.TypeLink {
		return 1
	}
	return 0
}
