// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
)

// TestUnknownLayout leaves facts of a kind that the agent does not know, as another version may: they are counted, and go.
func TestUnknownLayout(t *testing.T) {
	s := newScene(t)
	s.agent(s.builds[0]).attached().stop()
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "facts_a", Type: ebpf.Hash, KeySize: 12, ValueSize: 20, MaxEntries: 50})
	if err != nil {
		t.Fatal(err)
	}
	const entries = 17
	for i := range entries {
		if err := m.Put([12]byte{byte(i)}, [20]byte{}); err != nil {
			t.Fatal(err)
		}
	}
	pin := filepath.Join(s.pins, "file", "map-facts_a-0123456789ab-50")
	if err := m.Pin(pin); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	s.agent(s.builds[0]).attached().stop()
	if n := sumUp(s.events(), 0).losses["file/other_layout"]; n != entries {
		t.Errorf("%d facts of an unknown layout were told as lost, want %d", n, entries)
	}
	if _, err := os.Stat(pin); !os.IsNotExist(err) {
		t.Errorf("their map is still there: %v", err)
	}
}
