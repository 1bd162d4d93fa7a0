package images

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The cache: one folder of tars named by image and key, whose times are those of their last use. It does not grow for ever:
// each image keeps the few that were used last.

const (
	// keepTars is how many tars of one image stay; work on several branches at a time shares a cache.
	keepTars = 4
	// workPrefix starts the names of folders that a build in progress works in.
	workPrefix = ".work-"
	// workAge is after what time such a folder must be one that a killed build left.
	workAge = time.Hour
)

func tarPath(cache, name, key string) string {
	short := strings.TrimSuffix(filepath.Base(name), ":"+tag(name))
	return filepath.Join(cache, short+"-"+key+".tar")
}

// used says whether the tar is there, and if so that it is used now.
func used(path string) bool {
	now := time.Now()
	return os.Chtimes(path, now, now) == nil
}

// prune removes what was used long ago. What another process removed meanwhile is as good as removed here.
func prune(cache string) error {
	listed, err := os.ReadDir(cache)
	if err != nil {
		return err
	}
	tars := map[string][]fs.FileInfo{}
	for _, at := range listed {
		info, err := at.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if short, _, found := strings.Cut(at.Name(), "-"); found && strings.HasSuffix(at.Name(), ".tar") {
			tars[short] = append(tars[short], info)
		}
		if strings.HasPrefix(at.Name(), workPrefix) && time.Since(info.ModTime()) > workAge {
			err = os.RemoveAll(filepath.Join(cache, at.Name()))
		}
		if err != nil {
			return err
		}
	}
	for _, same := range tars {
		slices.SortFunc(same, func(a, b fs.FileInfo) int { return cmp.Compare(b.ModTime().UnixNano(), a.ModTime().UnixNano()) })
		for _, old := range same[min(keepTars, len(same)):] {
			if err := os.Remove(filepath.Join(cache, old.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}
