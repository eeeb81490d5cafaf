// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"testing"

	"github.com/spoor/spoor/agent/sensor"
)

func TestStrangersAreLeftOutOnce(t *testing.T) {
	var s strangers
	one, two := sensor.Who{Tgid: 1}, sensor.Who{Tgid: 2}
	if s.isNew(one, true) {
		t.Error("who is known is left out")
	}
	for range 2 { // it has two mappings, say
		if !s.isNew(two, false) {
			t.Error("a stranger is named in the walk that saw it first")
		}
	}
	s.turn()
	if s.isNew(two, false) {
		t.Error("a stranger is left out in the second walk")
	}
	if !s.isNew(one, false) {
		t.Error("who was known in the walk before, and is forgotten now, is named in the first walk that does not know it")
	}
	s.turn()
	s.turn()
	if !s.isNew(one, false) {
		t.Error("a stranger is remembered over a walk that did not see it")
	}
}
