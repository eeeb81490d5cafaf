// SPDX-License-Identifier: Apache-2.0

package query

import (
	"context"
	"fmt"
	"slices"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
)

// scope is what an answer speaks about; zero fields bound nothing.
type scope struct {
	from, to time.Time
	kinds    []store.Kind
	workload *store.Pattern
	node     string
	// kept: what it speaks about is kept when events are forgotten.
	kept bool
}

// maxGaps is how many sentences stand beside an answer; the rest is counted.
const maxGaps = 50

// restart is how long the agent of a node may be away before that is a gap: what it finds when it is back was there
// all the time, as a rule.
const restart = 5 * time.Second

// Completeness says what could be missing from what is known of a node in an interval; an empty node means all of them.
func (s *Service) Completeness(ctx context.Context, from, to time.Time, node string) (*spoorv1.Completeness, error) {
	return s.completeness(ctx, scope{from: from, to: to, node: node})
}

// completeness says what could be missing from an answer. more are sentences about the answer itself.
func (s *Service) completeness(ctx context.Context, about scope, more ...string) (*spoorv1.Completeness, error) {
	nodes, err := s.nodes(ctx)
	if err != nil {
		return nil, err
	}
	return s.completenessOf(ctx, nodes, about, more...)
}

func (s *Service) completenessOf(ctx context.Context, nodes []node, about scope, more ...string) (*spoorv1.Completeness, error) {
	gaps := slices.Clone(more)
	before, err := s.beforeOldest(ctx, about)
	if err != nil {
		return nil, err
	}
	gaps = append(gaps, before...)
	if len(nodes) == 0 {
		gaps = append(gaps, "no agent has reported yet")
	}
	for i := range nodes {
		if n := &nodes[i]; about.concerns(n.last().Cluster, n.last().Node) {
			gaps = append(gaps, n.unwatched(about)...)
			gaps = append(gaps, n.blind(about)...)
			gaps = append(gaps, n.skewed()...)
		}
	}
	lost, err := s.o.Store.Gaps(ctx, store.Period{From: about.from, To: about.to, Clocks: clocks(nodes)})
	if err != nil {
		return nil, err
	}
	for i := range lost {
		if g := &lost[i]; about.concerns(g.Cluster, g.Node) && about.includes(g.Source) && (g.Workload == nil || about.workload.Match(g.Workload)) {
			gaps = append(gaps, lossSentence(g))
		}
	}
	if len(gaps) > maxGaps {
		rest := len(gaps) - maxGaps
		gaps = append(gaps[:maxGaps:maxGaps], fmt.Sprintf("and %d more gaps: ask for one node, workload or a shorter time to see them", rest))
	}
	return &spoorv1.Completeness{Complete: len(gaps) == 0, Gaps: gaps}, nil
}

// concerns: what happened on the node can be part of the answer.
func (a *scope) concerns(cluster, node string) bool {
	if a.node != "" && a.node != node {
		return false
	}
	if a.workload == nil {
		return true
	}
	in := store.Pattern{Cluster: a.workload.Cluster, Namespace: "*", Kind: "*", Name: "*"}
	return in.Match(&spoorv1.Workload{Cluster: cluster})
}

// sensorKinds are the events of a part of an agent. What is not here matters for all of them: without processes and
// workloads the others are not attributed, and the queue and the wire carry everything.
var sensorKinds = map[string][]store.Kind{
	"file":   {store.KindFileWrite, store.KindFileChange, store.KindShare},
	"socket": {store.KindFlow, store.KindListen},
	"udp":    {store.KindFlow, store.KindListen},
	"memory": {store.KindShare},
	"dns":    {store.KindDNS},
}

// includes: what the source lost, or does not see, is of a kind that was asked for.
func (a *scope) includes(source string) bool {
	kinds, known := sensorKinds[source]
	if !known || len(a.kinds) == 0 {
		return true
	}
	return slices.ContainsFunc(kinds, func(k store.Kind) bool { return slices.Contains(a.kinds, k) })
}

// beforeOldest: the answer reaches back further than the store, or to a time of which events were forgotten.
func (s *Service) beforeOldest(ctx context.Context, about scope) ([]string, error) {
	if about.kept {
		return nil, nil
	}
	stats, err := s.o.Store.Stats(ctx)
	if err != nil {
		return nil, err
	}
	var gaps []string
	for _, f := range stats.Forgotten {
		if about.from.Before(f.Before) {
			gaps = append(gaps, fmt.Sprintf("events from before %s were forgotten%s", clock(f.Before), forgottenWords[f.Reason]))
		}
	}
	if len(stats.Forgotten) > 0 || about.from.IsZero() || stats.Oldest.IsZero() || !about.from.Before(stats.Oldest) {
		return gaps, nil
	}
	return []string{"nothing is stored from before " + clock(stats.Oldest)}, nil
}

// unwatched tells of the time in which a node had no agent that reported: between its runs, and since the last one.
func (n *node) unwatched(about scope) []string {
	runs := n.runs
	var gaps []string
	var times int
	var sum time.Duration
	var from, to time.Time
	for i := 1; i < len(runs); i++ {
		gone, back := runs[i-1].Seen, runs[i].Start.Add(-runs[i].Skew) // both by the collector's clock
		low, high := later(gone, about.from), earlier(back, about.to)
		if back.Sub(gone) < restart || !low.Before(high) {
			continue
		}
		times++
		sum += high.Sub(low)
		from, to = low, high
	}
	switch {
	case times == 1:
		gaps = append(gaps, fmt.Sprintf("%s: no agent reported from %s to %s", n.name, clock(from), clock(to)))
	case times > 1:
		gaps = append(gaps, fmt.Sprintf("%s: no agent reported %d times, %s in all, the last from %s to %s",
			n.name, times, sum.Round(time.Second), clock(from), clock(to)))
	}
	if last := n.last(); !n.connected && (about.to.IsZero() || last.Seen.Before(about.to)) {
		gaps = append(gaps, fmt.Sprintf("%s: its agent has been silent since %s", n.name, clock(last.Seen)))
	}
	return gaps
}

// blind tells of sensors that are off. A lower tier is no gap of one answer; GetStatus shows it.
func (n *node) blind(about scope) []string {
	var gaps []string
	for _, c := range n.last().Coverage {
		if c.GetTier() != "off" || !about.includes(c.GetSensor()) {
			continue
		}
		why := ""
		if c.GetReason() != "" {
			why = ": " + c.GetReason()
		}
		gaps = append(gaps, fmt.Sprintf("%s: the %s sensor is off%s", n.name, c.GetSensor(), why))
	}
	return gaps
}

// How far a clock may be off before answers say so. What a batch takes on its way, also while its agent is slowed, makes the clock look as if it
// were behind.
const (
	maxAhead  = 5 * time.Second
	maxBehind = time.Minute
)

// off: the skew is not what a batch takes on its way.
func off(skew time.Duration) bool { return skew > maxAhead || skew < -maxBehind }

// skewed tells of a clock that is off: of when things happened there, less is known.
func (n *node) skewed() []string {
	skew, how := n.last().Skew, "ahead of"
	if !off(skew) {
		return nil
	}
	if skew < 0 {
		how = "behind"
	}
	return []string{fmt.Sprintf("%s: its clock is %s %s the collector's, and so are the times that it gave: those of events are corrected, those of edges and findings are not", n.name, skew.Abs().Round(time.Second), how)}
}
