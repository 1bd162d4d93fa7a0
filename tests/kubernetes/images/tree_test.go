package images

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
)

func names(t *testing.T, files tree) []string {
	t.Helper()
	var layer bytes.Buffer
	if err := files.write(&layer); err != nil {
		t.Fatal(err)
	}
	var names []string
	for from := tar.NewReader(&layer); ; {
		header, err := from.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, header.Name)
	}
}

func TestFoldersComeBeforeWhatIsInThem(t *testing.T) {
	files := tree{}
	files.file("a/b/c", 0o644, nil)
	if got := names(t, files); !slices.Equal(got, []string{"a/", "a/b/", "a/b/c"}) {
		t.Fatal(got)
	}
}

func TestHardLinkComesAfterWhatItNames(t *testing.T) {
	files := tree{}
	files.put("a", entry{kind: tar.TypeLink, link: "b"})
	files.file("b", 0o644, nil)
	if got := names(t, files); !slices.Equal(got, []string{"b", "a"}) {
		t.Fatal(got)
	}
}

func TestPackageForBinLandsInUsrBin(t *testing.T) {
	deb := tree{}
	deb.folder("bin", 0o755, 0)
	deb.file("bin/dash", 0o755, []byte("x"))
	deb.put("bin/sh", entry{kind: tar.TypeLink, link: "bin/dash"})
	deb.file("usr/share/doc/dash/copyright", 0o644, nil)
	var archive bytes.Buffer
	if err := deb.write(&archive); err != nil {
		t.Fatal(err)
	}
	files := tree{}
	files.symlink("bin", "usr/bin")
	if err := files.unpack(&archive, kept); err != nil {
		t.Fatal(err)
	}
	if files["bin"].kind != tar.TypeSymlink || files["usr/bin/sh"].link != "usr/bin/dash" {
		t.Fatalf("%+v", files)
	}
	if string(files["usr/bin/dash"].body) != "x" {
		t.Fatalf("%+v", files)
	}
	if _, there := files["usr/share/doc/dash/copyright"]; there {
		t.Fatal("the papers of a package are in the image")
	}
}

func TestWhatNoTestReadsIsLeftOut(t *testing.T) {
	for name, wanted := range map[string]bool{
		"usr/share/doc":                     true,
		"usr/share/doc/git":                 false,
		"usr/share/docs/git":                true,
		"usr/lib/x86_64-linux-gnu/perl/5.1": false,
		"usr/lib/x86_64-linux-gnu/libc.so":  true,
		"usr/lib/perl/x":                    true,
	} {
		if kept(name) != wanted {
			t.Errorf("%s is kept: %v", name, !wanted)
		}
	}
}

func TestOverlayTakesThePlaceOfWhatWasThere(t *testing.T) {
	files, over := tree{}, tree{}
	over.file("etc/passwd", 0o644, []byte("ours"))
	files.file("etc/passwd", 0o600, []byte("theirs"))
	files.file("etc/shells", 0o644, nil)
	files.overlay(over)
	if string(files["etc/passwd"].body) != "ours" || files["etc/passwd"].mode != 0o644 || len(files) != 3 {
		t.Fatalf("%+v", files)
	}
}
