// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"slices"
	"strings"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
)

// matches says what EventQuery means, one event at a time.
func matches(q *store.EventQuery, ev *spoorv1.Event) bool {
	t := corrected(&q.Period, ev)
	switch {
	case !q.From.IsZero() && t.Before(q.From), !q.To.IsZero() && !t.Before(q.To):
		return false
	case len(q.Kinds) > 0 && !slices.Contains(q.Kinds, store.KindOf(ev)):
		return false
	case q.Workload != nil && !q.Workload.Match(ev.GetInstance().GetWorkload()):
		return false
	case q.Node != "" && ev.GetNode() != q.Node:
		return false
	case q.ExecID != "" && ev.GetProcess().GetExecId() != q.ExecID:
		return false
	case q.PathPrefix != "" && !slices.ContainsFunc(paths(ev), func(p string) bool { return strings.HasPrefix(p, q.PathPrefix) }):
		return false
	case q.Address != "" && !slices.Contains(addresses(ev), q.Address):
		return false
	case ev.GetId() <= q.AfterID, q.ThroughID != 0 && ev.GetId() > q.ThroughID:
		return false
	}
	return true
}

// corrected is when an event happened, by the clocks of a period.
func corrected(p *store.Period, ev *spoorv1.Event) time.Time {
	t := ev.GetTime().AsTime()
	for _, c := range p.Clocks {
		if c.Node == ev.GetNode() && c.Epoch == ev.GetEpoch() {
			return t.Add(-c.Ahead)
		}
	}
	return t
}

func paths(ev *spoorv1.Event) []string {
	switch f := ev.GetFact().(type) {
	case *spoorv1.Event_FileWrite:
		return []string{f.FileWrite.GetFile().GetPath()}
	case *spoorv1.Event_FileChange:
		return []string{f.FileChange.GetFile().GetPath(), f.FileChange.GetTargetPath()}
	case *spoorv1.Event_Share:
		return []string{f.Share.GetFile().GetPath()}
	}
	return nil
}

func addresses(ev *spoorv1.Event) []string {
	switch f := ev.GetFact().(type) {
	case *spoorv1.Event_Flow:
		return []string{f.Flow.GetLocal().GetAddress(), f.Flow.GetPeer().GetAddress()}
	case *spoorv1.Event_Listen:
		return []string{f.Listen.GetLocal().GetAddress()}
	}
	return nil
}
