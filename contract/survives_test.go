// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"testing"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// reading is of a file that another instance wrote.
func reading(f *spoorv1.File, by *spoorv1.Workload, instance string) *spoorv1.Share {
	return &spoorv1.Share{Kind: spoorv1.Share_KIND_FILE, Access: spoorv1.Share_ACCESS_READ, File: f, Other: by, OtherInstance: instance}
}

func TestStateThatSurvives(t *testing.T) {
	s := newScene(t, checkoutContract)
	state := inode("/app/state", 7, hostPath)
	s.sees(reading(state, checkout, "i0"), "high state.survives /app/state")
	s.sees(reading(state, checkout, "i0"))
	s.sees(reading(inode("/app/cache/x", 8, layer), checkout, "i0"), "low state.survives /app/cache/x")
	s.tick(25*time.Hour, "cleared state.survives /app/state", "cleared state.survives /app/cache/x")
}

func TestStateThatIsNotHandedOn(t *testing.T) {
	s := newScene(t, checkoutContract)
	for _, share := range []*spoorv1.Share{
		reading(inode("/app/state", 7, hostPath), checkout, "i1"), // its own
		reading(inode("/app/state", 7, layer), stranger, "i0"),
		reading(inode("/app/run.pid", 9, hostPath), checkout, "i0"),
	} {
		s.sees(share)
	}
	s.workload = stranger // has no contract
	s.sees(reading(inode("/app/state", 7, hostPath), stranger, "i0"))
}
