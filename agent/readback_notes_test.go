// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/spoor/spoor/agent/sensor"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// What is in the pinned map may be anybody's who is root: it is read, or refused.
func FuzzNote(f *testing.F) {
	instance, err := proto.Marshal(&spoorv1.Instance{Id: "i", Workload: &spoorv1.Workload{Kind: "Unit", Name: "shop.service"}})
	if err != nil {
		f.Fatal(err)
	}
	good := writtenNote{
		Instance: instance, ExecID: "e", Cgroup: 7, Last: time.Unix(1, 0), Path: []byte("/state\xff"), FSType: "ext4", HostPath: []byte("/var/state\xff"),
	}
	b, err := good.encode()
	if err != nil {
		f.Fatal(err)
	}
	got, err := decodeNote(b)
	if err != nil || got.path != "/state\xff" || got.hostPath != "/var/state\xff" || got.instance.Proto().GetWorkload().GetName() != "shop.service" {
		f.Fatalf("%+v: %v", got, err)
	}
	f.Add(b)
	f.Add([]byte(`{"instance":"AA==","last":"2026-01-02T03:04:05Z"}`))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := decodeNote(b)
		if err != nil {
			return
		}
		if file.instance.Proto().GetId() == "" || file.last.IsZero() || file.instance.Pending() {
			t.Errorf("taken for a note: %q", b)
		}
		if w := file.watched(sensor.Inode{Number: 7}, "/proc/1/root"); file.hostPath != "" && w.Path != "/proc/1/root"+file.hostPath {
			t.Errorf("path %q of %q", w.Path, b)
		}
	})
}
