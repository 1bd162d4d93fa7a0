package images

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"runtime"
	"strings"
)

// The OCI image layout: a tar of oci-layout, index.json and blobs named by their SHA-256. One image, one platform, one layer
// that is not compressed (it is read once, on this machine).

const (
	layoutVersion   = `{"imageLayoutVersion":"1.0.0"}`
	typeIndex       = "application/vnd.oci.image.index.v1+json"
	typeManifest    = "application/vnd.oci.image.manifest.v1+json"
	typeConfig      = "application/vnd.oci.image.config.v1+json"
	typeLayer       = "application/vnd.oci.image.layer.v1.tar"
	annotationName  = "io.containerd.image.name"
	annotationShort = "org.opencontainers.image.ref.name"
)

// settings are an image's defaults for its containers, as the OCI image configuration spells them.
type settings struct {
	User         string              `json:"User,omitempty"`
	ExposedPorts map[string]struct{} `json:"ExposedPorts,omitempty"`
	Env          []string            `json:"Env,omitempty"`
	Entrypoint   []string            `json:"Entrypoint,omitempty"`
	Cmd          []string            `json:"Cmd,omitempty"`
	WorkingDir   string              `json:"WorkingDir,omitempty"`
}

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Platform    *platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []descriptor `json:"manifests"`
}

type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
}

type imageConfig struct {
	platform
	Config settings `json:"config"`
	RootFS rootFS   `json:"rootfs"`
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

// writeLayout writes an image under all its names, with its one layer read from the start of a file, as a layout in a tar.
func writeLayout(to io.Writer, names []string, defaults settings, layer *os.File) error {
	layerBlob, err := describe(typeLayer, layer)
	if err != nil {
		return err
	}
	here := platform{Architecture: runtime.GOARCH, OS: "linux"}
	config, configBlob, err := document(typeConfig, imageConfig{
		platform: here, Config: defaults,
		RootFS: rootFS{Type: "layers", DiffIDs: []string{layerBlob.Digest}},
	})
	if err != nil {
		return err
	}
	list, listBlob, err := document(typeManifest, manifest{
		SchemaVersion: 2, MediaType: typeManifest, Config: configBlob, Layers: []descriptor{layerBlob},
	})
	if err != nil {
		return err
	}
	listBlob.Platform = &here
	var named []descriptor
	for _, name := range names {
		one := listBlob
		one.Annotations = map[string]string{annotationName: name, annotationShort: tag(name)}
		named = append(named, one)
	}
	top, _, err := document(typeIndex, index{SchemaVersion: 2, MediaType: typeIndex, Manifests: named})
	if err != nil {
		return err
	}

	out := tar.NewWriter(to)
	add := func(path string, size int64, body io.Reader) {
		if err == nil {
			err = out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path, Mode: 0o644, Size: size, ModTime: stamp})
		}
		if err == nil {
			_, err = io.Copy(out, body)
		}
	}
	add("oci-layout", int64(len(layoutVersion)), strings.NewReader(layoutVersion))
	add(blobPath(configBlob), configBlob.Size, bytes.NewReader(config))
	add(blobPath(listBlob), listBlob.Size, bytes.NewReader(list))
	add(blobPath(layerBlob), layerBlob.Size, layer)
	add("index.json", int64(len(top)), bytes.NewReader(top))
	if err != nil {
		return err
	}
	return out.Close()
}

// describe makes the descriptor of a file's content and leaves the file at its start.
func describe(mediaType string, file io.ReadSeeker) (descriptor, error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return descriptor{}, err
	}
	sum := sha256.New()
	size, err := io.Copy(sum, file)
	if err != nil {
		return descriptor{}, err
	}
	_, err = file.Seek(0, io.SeekStart)
	return descriptor{MediaType: mediaType, Digest: "sha256:" + hex.EncodeToString(sum.Sum(nil)), Size: size}, err
}

func document(mediaType string, value any) ([]byte, descriptor, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, descriptor{}, err
	}
	blob, err := describe(mediaType, bytes.NewReader(text))
	return text, blob, err
}

func blobPath(blob descriptor) string {
	return "blobs/" + strings.Replace(blob.Digest, ":", "/", 1)
}

// tag is the part of an image's name after the last colon.
func tag(name string) string {
	return name[strings.LastIndexByte(name, ':')+1:]
}
