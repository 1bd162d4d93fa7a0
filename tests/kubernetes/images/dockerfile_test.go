package images

import (
	"os"
	"slices"
	"strings"
	"testing"
)

func TestDockerfileIsCarriedOut(t *testing.T) {
	text, err := os.ReadFile("../../../deploy/guest.Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	r, err := dockerRecipe(Example, string(text))
	if err != nil {
		t.Fatal(err)
	}
	if r.Defaults.User != "1000:1000" || r.Defaults.WorkingDir != "/home/user" {
		t.Errorf("it starts with %+v", r.Defaults)
	}
	if !slices.Contains(r.Debian.Names, "openssh-sftp-server") || !slices.Contains(r.Debian.Names, "bash") {
		t.Errorf("it has %v", r.Debian.Names)
	}
	if !strings.Contains(string(r.files["etc/passwd"].body), "\nuser:x:1000:1000::/home/user:/bin/bash\n") {
		t.Errorf("the users are %s", r.files["etc/passwd"].body)
	}
	if home := r.files["home/user"]; home.uid != 1000 || home.mode != 0o700 {
		t.Errorf("the home is %+v", home)
	}
}

func TestWhatADockerfileSaysThatIsNotKnownIsAnError(t *testing.T) {
	for _, text := range []string{
		"FROM scratch", "FROM debian:bookworm-slim\nCOPY a b", "RUN make", "RUN apt-get install bash",
		"RUN useradd --uid 1000 user", "RUN groupadd --gid 7 --system user", "RUN groupadd --gid 7",
	} {
		if _, err := dockerRecipe(Example, text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
