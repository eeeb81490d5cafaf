// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/spoor/spoor/agent/workload"
)

const (
	web = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	db  = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

const dockerConfig = `{"StreamConfig":{},"State":{"Running":true,"StartedAt":"2026-03-01T12:00:05Z"},"ID":"` + web + `",
"Created":"2026-03-01T12:00:00Z","Path":"nginx","Config":{"Labels":{"com.docker.compose.project":"shop","com.docker.compose.service":"web","com.docker.compose.config-hash":"1","tier":"front"}},
"Name":"/shop-web-2","RestartCount":3}`

const podmanConfig = `[{"id":"` + db + `","names":["db"],"image":"x","metadata":"{}","created":"2026-03-01T12:00:00Z"},
{"id":"short","names":["x"]},{"id":"` + web + `"}]`

// machine is a root directory with files in it.
type machine struct {
	*testing.T
	root string
}

func newMachine(t *testing.T, files map[string]string) machine {
	t.Helper()
	m := machine{t, t.TempDir()}
	for name, content := range files {
		m.write(name, content)
	}
	return m
}

func (m machine) write(name, content string) {
	m.Helper()
	path := filepath.Join(m.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		m.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		m.Fatal(err)
	}
}

func (m machine) source() *Source {
	return New(Options{Root: m.root, Logger: slog.New(slog.DiscardHandler)})
}

func TestFind(t *testing.T) {
	docker := "/containers/" + web + "/config.v2.json"
	shop := workload.Container{
		ID: web, Name: "shop-web-2", Service: "shop-web", Restarts: 3, Created: time.Date(2026, 3, 1, 12, 0, 5, 0, time.UTC),
		Labels: workload.Labels{Known: true, Kept: map[string]string{
			"com.docker.compose.project": "shop", "com.docker.compose.service": "web", "tier": "front",
		}},
	}
	pg := workload.Container{ID: db, Name: "db", Created: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	passwd := fmt.Sprintf("me:x:%d:1:,,,:/home/me:/bin/sh\n", os.Geteuid())
	me := fmt.Sprint(os.Geteuid())
	mine := func(c workload.Container) workload.Container { c.User = me; return c }
	for _, tc := range []struct {
		name  string
		files map[string]string
		want  workload.Want
		found workload.Container
	}{
		{"docker", map[string]string{"var/lib/docker" + docker: dockerConfig}, workload.Want{ContainerID: web}, shop},
		{
			"docker elsewhere",
			map[string]string{"etc/docker/daemon.json": `{"data-root":"/srv/../data"}`, "data" + docker: dockerConfig},
			workload.Want{ContainerID: web},
			shop,
		},
		{
			"docker, unreadable settings",
			map[string]string{"etc/docker/daemon.json": `{`, "var/lib/docker" + docker: dockerConfig},
			workload.Want{ContainerID: web},
			shop,
		},
		{
			"docker, another's state",
			map[string]string{"var/lib/docker/containers/" + db + "/config.v2.json": dockerConfig},
			workload.Want{ContainerID: db},
			workload.Container{},
		},
		{
			"podman",
			map[string]string{"var/lib/containers/storage/overlay-containers/containers.json": podmanConfig},
			workload.Want{ContainerID: db},
			pg,
		},
		{
			"podman --rm",
			map[string]string{"var/lib/containers/storage/overlay-containers/volatile-containers.json": podmanConfig},
			workload.Want{ContainerID: db},
			pg,
		},
		{"podman elsewhere", map[string]string{
			"etc/containers/storage.conf": "[storage]\ndriver = \"vfs\"\n  graphroot = \"/srv/podman\"\n", "srv/podman/vfs-containers/containers.json": podmanConfig,
		}, workload.Want{ContainerID: db}, pg},
		{
			"podman, no name",
			map[string]string{"var/lib/containers/storage/overlay-containers/containers.json": podmanConfig},
			workload.Want{ContainerID: web},
			workload.Container{},
		},
		{
			"nerdctl",
			map[string]string{"run/containerd/io.containerd.runtime.v2.task/default/" + web + "/config.json": `{"annotations":{"nerdctl/name":"ned"}}`},
			workload.Want{ContainerID: web},
			workload.Container{ID: web, Name: "ned"},
		},
		{
			"a user's docker",
			map[string]string{"etc/passwd": passwd, "home/me/.local/share/docker" + docker: dockerConfig},
			workload.Want{ContainerID: web, User: me},
			mine(shop),
		},
		{
			"a user's podman",
			map[string]string{"etc/passwd": passwd, "home/me/.local/share/containers/storage/overlay-containers/containers.json": podmanConfig},
			workload.Want{ContainerID: db, User: me},
			mine(pg),
		},
		{
			"the system's docker for a user",
			map[string]string{"etc/passwd": passwd, "var/lib/docker" + docker: dockerConfig},
			workload.Want{ContainerID: web, User: me},
			workload.Container{},
		},
		{"a user that is not there", map[string]string{"etc/passwd": passwd}, workload.Want{ContainerID: web, User: "77"}, workload.Container{}},
		{"an id that is a path", map[string]string{"etc/passwd": passwd}, workload.Want{ContainerID: "../../../etc/passwd"}, workload.Container{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, ok := newMachine(t, tc.files).source().find(tc.want)
			if ok != (tc.found.ID != "") {
				t.Fatalf("found %+v, %v", got, ok)
			}
			if d := cmp.Diff(tc.found, got); ok && d != "" {
				t.Errorf("find (-want +got):\n%s", d)
			}
		})
	}
}

func TestAListThatChangesIsReadAgain(t *testing.T) {
	const list = "var/lib/containers/storage/overlay-containers/containers.json"
	m := newMachine(t, map[string]string{list: "[]"})
	d, err := workload.NewDirectory()
	if err != nil {
		t.Fatal(err)
	}
	r, err := workload.New(workload.Options{Node: "n", Directory: d})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.source().Run(ctx, d) }()
	r.Learn(10, "/libpod_parent/libpod-"+db, time.Time{})
	m.write(list, podmanConfig)
	for deadline := time.Now().Add(time.Minute); r.Of(10, 0, false).Pending(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("podman's container has no name")
		}
		r.Settle(time.Unix(1, 0))
	}
	if got := r.Of(10, 0, false).Proto().GetWorkload(); got.GetName() != "db" || got.GetKind() != workload.KindContainer {
		t.Errorf("it belongs to %v", got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func FuzzDocker(f *testing.F) {
	f.Add([]byte(dockerConfig))
	f.Add([]byte(`{"ID":"` + web + `","Name":"/x","RestartCount":-1}`))
	f.Fuzz(func(t *testing.T, config []byte) {
		if c, ok := dockerContainer(config, web); ok && c.Name == "" {
			t.Error("a container without a name")
		}
	})
}

func FuzzPodman(f *testing.F) {
	f.Add([]byte(podmanConfig))
	f.Add([]byte(`[{"id":null,"names":[null]}]`))
	f.Fuzz(func(t *testing.T, list []byte) {
		for id, c := range podmanContainers(list) {
			if !isID(id) || c.Name == "" {
				t.Errorf("container %q is called %q", id, c.Name)
			}
		}
	})
}

func FuzzBundle(f *testing.F) {
	f.Add([]byte(`{"annotations":{"nerdctl/name":"x"}}`))
	f.Fuzz(func(t *testing.T, config []byte) {
		if name, ok := bundleName(config); ok != (name != "") {
			t.Errorf("name %q, %v", name, ok)
		}
	})
}

func FuzzHome(f *testing.F) {
	f.Add("me:x:7:7::/home/me:/bin/sh\n", "7")
	f.Fuzz(func(t *testing.T, passwd, uid string) {
		if home, ok := homeIn(passwd, uid); ok && (!filepath.IsAbs(home) || strings.Contains(home, "..") && strings.Contains(home, "/../")) {
			t.Errorf("home %q", home)
		}
	})
}
