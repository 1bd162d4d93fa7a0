package images

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func TestEveryBlobIsNamedByItsDigestAndTheIndexLeadsToTheLayer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image.tar")
	r := recipe{Name: Pause, Aliases: []string{PublicBusybox}, Defaults: settings{User: "7:7", Entrypoint: []string{"/pause"}}}
	if err := r.make(single("pause", []byte("program")), path+".layer", path); err != nil {
		t.Fatal(err)
	}
	files := read(t, path)
	blob := func(d descriptor) []byte {
		content := files[blobPath(d)]
		sum := sha256.Sum256(content)
		if d.Digest != "sha256:"+hex.EncodeToString(sum[:]) || d.Size != int64(len(content)) {
			t.Fatalf("%+v describes %d bytes with the digest %x", d, len(content), sum)
		}
		return content
	}

	top := parse[index](t, files["index.json"])
	if len(top.Manifests) != 2 || top.Manifests[0].Digest != top.Manifests[1].Digest {
		t.Fatalf("the index is %+v", top)
	}
	for at, name := range []string{"podgate.test/pause:1", "docker.io/library/busybox:1.37"} {
		if found := top.Manifests[at].Annotations["io.containerd.image.name"]; found != name {
			t.Fatalf("the name is %s, not %s", found, name)
		}
	}
	list := parse[manifest](t, blob(top.Manifests[0]))
	if len(list.Layers) != 1 {
		t.Fatalf("the manifest is %+v", list)
	}
	config := parse[imageConfig](t, blob(list.Config))
	if config.RootFS.DiffIDs[0] != list.Layers[0].Digest || config.Config.User != "7:7" || config.OS != "linux" {
		t.Fatalf("the configuration is %+v", config)
	}
	header, err := tar.NewReader(bytes.NewReader(blob(list.Layers[0]))).Next()
	if err != nil || header.Name != "pause" || header.Mode != 0o755 {
		t.Fatalf("the layer starts with %+v, %v", header, err)
	}
	if string(files["oci-layout"]) != `{"imageLayoutVersion":"1.0.0"}` || len(files) != 5 {
		t.Fatalf("the layout has %d files and is %s", len(files), files["oci-layout"])
	}
}

func read(t *testing.T, path string) map[string][]byte {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	files := map[string][]byte{}
	for from := tar.NewReader(file); ; {
		header, err := from.Next()
		if err == io.EOF {
			return files
		}
		if err == nil {
			files[header.Name], err = io.ReadAll(from)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func parse[T any](t *testing.T, text []byte) T {
	t.Helper()
	var value T
	if err := json.Unmarshal(text, &value); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return value
}
