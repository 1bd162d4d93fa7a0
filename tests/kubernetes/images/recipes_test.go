package images

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// The recipes of Podgate's own images are those of deploy/, read here as far as these files go.
func TestOwnImagesStartAsTheDockerfilesSay(t *testing.T) {
	for file, recipe := range map[string]settings{"Dockerfile": gatewayDefaults, "webhooks.Dockerfile": webhookDefaults} {
		text, err := os.ReadFile("../../../deploy/" + file)
		if err != nil {
			t.Fatal(err)
		}
		said := settings{Env: recipe.Env, WorkingDir: recipe.WorkingDir}
		var base string
		var copied []string
		for line := range strings.Lines(string(text)) {
			word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
			switch word {
			case "FROM":
				base, copied = rest, nil
			case "COPY":
				copied = append(copied, rest[strings.LastIndexByte(rest, ' ')+1:])
			case "USER":
				said.User = rest
			case "EXPOSE":
				said.ExposedPorts = map[string]struct{}{rest + "/tcp": {}}
			case "ENTRYPOINT":
				err = json.Unmarshal([]byte(rest), &said.Entrypoint)
			case "CMD":
				err = json.Unmarshal([]byte(rest), &said.Cmd)
			}
			if err != nil {
				t.Fatalf("%s: %s: %v", file, line, err)
			}
		}
		if !reflect.DeepEqual(said, recipe) {
			t.Errorf("%s says %+v, the recipe %+v", file, said, recipe)
		}
		if !slices.Contains(copied, recipe.Entrypoint[0]) || base != "gcr.io/distroless/cc-debian12:nonroot" {
			t.Errorf("%s puts the program at %s over %s", file, copied, base)
		}
	}
}

func TestScratchAndPauseHoldOneFile(t *testing.T) {
	found, err := recipes(t.Context(), Options{Module: ".."}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 6 {
		t.Fatalf("without Podgate's programs there are %d images", len(found))
	}
	for _, r := range found {
		if r.Name != Scratch && r.Name != Pause {
			continue
		}
		name := strings.TrimPrefix(r.Defaults.Entrypoint[0], "/")
		if len(r.files) != 1 || len(r.files[name].body) == 0 || len(r.Debian.Names) > 0 {
			t.Errorf("%s holds %d files and %v", r.Name, len(r.files), r.Debian.Names)
		}
	}
}
