// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spoor/spoor/agent/workload"
)

// podmanState is what podman 4.3.1 left after it made thirteen containers and removed the third: twelve of a service with labels, and one without any.
func podmanState(t testing.TB) (list, database []byte) {
	t.Helper()
	list, err := os.ReadFile("testdata/podman-4/containers.json")
	if err != nil {
		t.Fatal(err)
	}
	packed, err := os.ReadFile("testdata/podman-4/bolt_state.db.gz")
	if err != nil {
		t.Fatal(err)
	}
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	if database, err = io.ReadAll(r); err != nil {
		t.Fatal(err)
	}
	return list, database
}

func TestPodmanLabels(t *testing.T) {
	list, database := podmanState(t)
	var all []struct {
		ID    string
		Names []string
	}
	if err := json.Unmarshal(list, &all); err != nil || len(all) != 12 {
		t.Fatalf("%d containers: %v", len(all), err)
	}
	me := fmt.Sprint(os.Geteuid())
	for home, user := range map[string]string{"var/lib/containers/storage/": "", "home/me/.local/share/containers/storage/": me} {
		m := newMachine(t, map[string]string{
			"etc/passwd":                            "me:x:" + me + ":1:,,,:/home/me:/bin/sh\n",
			home + "vfs-containers/containers.json": string(list), home + "libpod/bolt_state.db": string(database),
		})
		s := m.source()
		for _, c := range all {
			want := workload.Labels{Known: true}
			service := ""
			if number, ok := strings.CutPrefix(c.Names[0], "shop_web_"); ok {
				service = "shop-web"
				want.Kept = map[string]string{"tier": "front", "number": number, "io.podman.compose.project": "shop", "io.podman.compose.service": "web"}
			}
			got, ok := s.find(workload.Want{ContainerID: c.ID, User: user})
			if !ok || got.Name != c.Names[0] || got.Service != service {
				t.Errorf("%s: found %v, called %q of the service %q", c.Names[0], ok, got.Name, got.Service)
			}
			if diff := cmp.Diff(want, got.Labels); diff != "" {
				t.Errorf("%s: %s", c.Names[0], diff)
			}
		}
		// One that podman removed from its database, or that has another database, has a name and no labels that are known.
		m.write(home+"libpod/bolt_state.db", "SQLite format 3\x00")
		if got, ok := s.find(workload.Want{ContainerID: all[0].ID, User: user}); !ok || got.Labels.Known {
			t.Errorf("%v, %+v", ok, got)
		}
	}
	if _, ok := boltValue(database, "ctr", strings.Repeat("0", 64), "config"); ok {
		t.Error("a container that is none")
	}
	// A write that was cut off spoils one meta page, and the other one counts.
	size := int(boltOrder.Uint32(database[boltHeader+8:]))
	for n := range 2 {
		spoilt := bytes.Clone(database)
		spoilt[n*size+boltHeader+48]++
		if _, ok := boltValue(spoilt, "ctr", all[0].ID, "config"); !ok {
			t.Errorf("without meta page %d nothing is found", n)
		}
	}
}

// Whatever a user's database says, reading it ends.
func FuzzBolt(f *testing.F) {
	_, database := podmanState(f)
	f.Add(uint32(0), byte(0), uint32(0), byte(0), len(database))
	f.Fuzz(func(t *testing.T, at uint32, value byte, at2 uint32, value2 byte, length int) {
		spoilt := bytes.Clone(database)
		spoilt[int(at)%len(spoilt)] = value
		spoilt[int(at2)%len(spoilt)] = value2
		spoilt = spoilt[:max(0, min(length, len(spoilt)))]
		for _, id := range []string{"9f4a0e1a089659206c3ad624d372af480f4aea60b8c3ea20302bab6bdde7abcd", web} {
			if config, ok := boltValue(spoilt, "ctr", id, "config"); ok && len(config) > len(spoilt) {
				t.Error("a value that is larger than its database")
			}
		}
	})
}
