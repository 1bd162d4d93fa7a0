package images

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestEveryPartOfARecipeIsInItsKey(t *testing.T) {
	base := func() recipe {
		return recipe{
			Name: Guest, Defaults: settings{User: "1:1"}, Debian: packages{Names: []string{"bash"}},
			files: single("a", []byte("b")),
		}
	}
	changes := map[string]func(*recipe){
		"nothing":     func(*recipe) {},
		"name":        func(r *recipe) { r.Name = Busybox },
		"defaults":    func(r *recipe) { r.Defaults.Cmd = []string{"/bin/sh"} },
		"packages":    func(r *recipe) { r.Debian.Names = []string{"bash", "git"} },
		"depends":     func(r *recipe) { r.Debian.Alone = true },
		"file's text": func(r *recipe) { r.files.file("a", 0o755, []byte("c")) },
		"file's mode": func(r *recipe) { r.files.file("a", 0o700, []byte("b")) },
		"owner":       func(r *recipe) { r.files.folder("home", 0o755, 1) },
	}
	seen := map[string]string{}
	for what, change := range changes {
		r := base()
		change(&r)
		key, err := r.key()
		if err != nil {
			t.Fatal(err)
		}
		if other, twice := seen[key]; twice {
			t.Errorf("%s and %s have one key", what, other)
		}
		seen[key] = what
	}
	again, err := base().key()
	if err != nil || seen[again] != "nothing" {
		t.Fatalf("the same recipe has another key: %s, %v", again, err)
	}
}

func TestTarIsBuiltOnce(t *testing.T) {
	cache, work := t.TempDir(), t.TempDir()
	r := recipe{Name: Scratch, files: single("probe", []byte("x"))}
	first, err := r.tar(t.Context(), cache, work)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(first, []byte("the first one's"), 0o644); err != nil {
		t.Fatal(err)
	}
	second, err := r.tar(t.Context(), cache, work)
	if err != nil || second != first {
		t.Fatal(second, err)
	}
	if content, err := os.ReadFile(second); err != nil || string(content) != "the first one's" {
		t.Fatalf("%q, %v", content, err)
	}
}

func TestFailedBuildLeavesNothing(t *testing.T) {
	cache := t.TempDir()
	_, err := Build(t.Context(), Options{Cache: cache, Module: "..", Gateway: filepath.Join(cache, "nothing")})
	if err == nil {
		t.Fatal("built from a program that is not there")
	}
	if left, err := os.ReadDir(cache); err != nil || len(left) > 0 {
		t.Fatal(left, err)
	}
}

func TestOnlyTheLastUsedTarsOfAnImageStay(t *testing.T) {
	cache := t.TempDir()
	make := func(name string, age time.Duration) {
		at := filepath.Join(cache, name)
		if err := os.WriteFile(at, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(at, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	for hours, name := range []string{"e", "d", "c", "b", "a"} {
		make("guest-"+name+".tar", time.Duration(hours)*time.Hour)
	}
	make("busybox-a.tar", 100*time.Hour)
	make(workPrefix+"1", 2*workAge)
	make(workPrefix+"2", 0)
	if !used(filepath.Join(cache, "guest-a.tar")) || used(filepath.Join(cache, "guest-f.tar")) {
		t.Fatal("only the tar that is there is used")
	}
	if err := prune(cache); err != nil {
		t.Fatal(err)
	}
	listed, err := os.ReadDir(cache)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, at := range listed {
		names = append(names, at.Name())
	}
	wanted := []string{".work-2", "busybox-a.tar", "guest-a.tar", "guest-c.tar", "guest-d.tar", "guest-e.tar"}
	if !slices.Equal(names, wanted) {
		t.Fatal(names)
	}
}
