// SPDX-License-Identifier: Apache-2.0

package finding

import (
	"slices"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// newEvidence returns the ids of events that are younger than all that prove the finding so far, ascending.
func newEvidence(f *spoorv1.Finding, evs []*spoorv1.Event) []uint64 {
	newest := uint64(0)
	if ids := f.GetEvidenceIds(); len(ids) > 0 {
		newest = slices.Max(ids)
	}
	var fresh []uint64
	for _, ev := range evs {
		if ev.GetId() > newest {
			fresh = append(fresh, ev.GetId())
		}
	}
	slices.Sort(fresh)
	return slices.Compact(fresh)
}

// addEvidence keeps the first few ids and the latest few.
func addEvidence(ids, fresh []uint64) []uint64 {
	all := slices.Concat(ids, fresh)
	slices.Sort(all)
	all = slices.Compact(all)
	if len(all) <= firstEvidence+latestEvidence {
		return all
	}
	return slices.Concat(all[:firstEvidence], all[len(all)-latestEvidence:])
}
