// Package images builds the container images of the test cluster, each a tar that containerd imports, without a registry and
// without a container engine. An image is a recipe: Debian packages, files of our own and defaults. Its tar is kept under a
// key of all these, so that nothing is built twice, and takes its name only when it is whole.
package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// The names of the images, as a pod gives them. Nothing serves them: pods say imagePullPolicy: Never.
const (
	// Pause is the sandbox image.
	Pause = "podgate.test/pause:1"
	// Busybox has /bin/sh and Debian's busybox, and no sftp-server.
	Busybox = "podgate.test/busybox:1"
	// Guest is what a user of Podgate might work in: Debian with bash, git, rsync, python3 and sftp-server.
	Guest = "podgate.test/guest:1"
	// Scratch holds one static program, /probe (see the command pause), and nothing else.
	Scratch = "podgate.test/scratch:1"
	// Restricted is Busybox for the user id 1000, for the restricted Pod Security level and a read-only root.
	Restricted = "podgate.test/restricted:1"
	// Example is the image of deploy/guest.Dockerfile.
	Example = "podgate.test/example:1"
	// Podgate is the gateway, as deploy/Dockerfile lays it out.
	Podgate = "podgate.test/podgate:1"
	// Webhooks is podgate-webhooks, as deploy/webhooks.Dockerfile lays it out.
	Webhooks = "podgate.test/webhooks:1"
)

// The public images that README.md names, by their full names. The node holds Guest and Busybox under them as well: a pod
// that says no imagePullPolicy finds them there, and nothing is pulled.
const (
	PublicDebian  = "docker.io/library/debian:bookworm-slim"
	PublicBusybox = "docker.io/library/busybox:1.37"
)

// Options say of what the images are made and where they are kept.
type Options struct {
	// Cache is the folder of the tars; it is made where it is missing.
	Cache string
	// Module is the folder of this Go module, in which the sandbox's program is built.
	Module string
	// Gateway is the program podgate; without it there is no image Podgate.
	Gateway string
	// Agent is the program podgate-agent of the image Podgate; without it, the one beside Gateway, if there is one.
	Agent string
	// WebhookServer is the program podgate-webhooks; without it there is no image Webhooks.
	WebhookServer string
}

// Image is one that is ready to import.
type Image struct {
	Name string
	// Path is that of a tar with an OCI image layout.
	Path string
}

// Build returns the images in the order of their names above, after it built those that the cache does not hold. Several
// processes may do so in one cache at a time.
func Build(ctx context.Context, options Options) ([]Image, error) {
	// The programs that are called below have folders of their own.
	cache, err := filepath.Abs(options.Cache)
	if err == nil {
		err = os.MkdirAll(cache, 0o755)
	}
	if err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp(cache, workPrefix)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	wanted, err := recipes(ctx, options, work)
	if err != nil {
		return nil, err
	}
	var images []Image
	for _, r := range wanted {
		path, err := r.tar(ctx, cache, work)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", r.Name, err)
		}
		images = append(images, Image{Name: r.Name, Path: path})
	}
	return images, prune(cache)
}

// recipe says all that makes an image what it is.
type recipe struct {
	Name string
	// Aliases are further full names of the same image.
	Aliases  []string
	Defaults settings
	Debian   packages
	// files are ours, and lie over Debian's.
	files tree
}

// key names the recipe: any difference in it is another key.
func (r recipe) key() (string, error) {
	sum := sha256.New()
	err := json.NewEncoder(sum).Encode([]any{r, runtime.GOARCH, left, merged})
	if err == nil {
		err = r.files.write(sum)
	}
	return hex.EncodeToString(sum.Sum(nil))[:32], err
}

// tar returns the path of the image's tar, made in work first when the cache has none.
func (r recipe) tar(ctx context.Context, cache, work string) (string, error) {
	key, err := r.key()
	if err != nil {
		return "", err
	}
	path := tarPath(cache, r.Name, key)
	if used(path) {
		return path, nil
	}
	work, err = os.MkdirTemp(work, "image-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	root := tree{}
	if len(r.Debian.Names) > 0 {
		if root, err = debianTree(ctx, r.Debian, work); err != nil {
			return "", err
		}
	}
	root.overlay(r.files)
	made := filepath.Join(work, "image.tar")
	if err := r.make(root, filepath.Join(work, "layer.tar"), made); err != nil {
		return "", err
	}
	return path, os.Rename(made, path)
}

// make writes the tar, by way of a file for the layer, whose digest comes first.
func (r recipe) make(root tree, layerPath, path string) error {
	layer, err := os.Create(layerPath)
	if err != nil {
		return err
	}
	defer layer.Close()
	if err := root.write(layer); err != nil {
		return err
	}
	image, err := os.Create(path)
	if err != nil {
		return err
	}
	defer image.Close()
	if err := writeLayout(image, append([]string{r.Name}, r.Aliases...), r.Defaults, layer); err != nil {
		return err
	}
	return image.Close()
}
