// SPDX-License-Identifier: Apache-2.0

// Package completeness says what could be missing from an answer, in sentences for people.
//
// It must not know who asks or what the answer is about beyond a time, a node and a workload.
package completeness

import (
	"context"
	"fmt"
	"slices"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
)

const (
	// silence is how long an agent that is not connected may be unheard of before that is a gap.
	silence = 30 * time.Second
	// gone is how long a silent agent is spoken of: a node that was away longer was taken away.
	gone = 24 * time.Hour
	// maxGaps bounds the sentences of one answer.
	maxGaps = 50
)

// Store is what is asked.
type Store interface {
	Gaps(ctx context.Context, from, to time.Time) ([]store.Gap, error)
	Runs(ctx context.Context) ([]store.RunStatus, error)
}

// Teller answers for one store.
type Teller struct {
	Store Store
	// Connected says whether the run has a stream open now.
	Connected func(store.Run) bool
}

// Scope is what was asked for; zero fields mean everything.
type Scope struct {
	From, To time.Time
	Node     string
	Workload *store.Pattern
}

// Of returns what is known to be missing within the scope at the time now.
func (t *Teller) Of(ctx context.Context, s Scope, now time.Time) (*spoorv1.Completeness, error) {
	gaps, err := t.Store.Gaps(ctx, s.From, s.To)
	if err != nil {
		return nil, fmt.Errorf("completeness: %w", err)
	}
	var sentences []string
	for _, g := range gaps {
		if s.Node != "" && s.Node != g.Node || g.Workload != nil && !s.Workload.Match(g.Workload) {
			continue
		}
		sentences = append(sentences, sentence(g))
	}
	silent, err := t.silent(ctx, s, now)
	if err != nil {
		return nil, fmt.Errorf("completeness: %w", err)
	}
	sentences = append(sentences, silent...)
	if n := len(sentences); n > maxGaps {
		sentences = append(sentences[:maxGaps], fmt.Sprintf("and %d more gaps", n-maxGaps))
	}
	return &spoorv1.Completeness{Complete: len(sentences) == 0, Gaps: sentences}, nil
}

func sentence(g store.Gap) string {
	where := "node " + node(g.Cluster, g.Node)
	if w := g.Workload; w != nil {
		where += ", " + w.GetKind() + "/" + w.GetName()
	}
	if g.Source == store.SourceSequence {
		return fmt.Sprintf("%s: %s sent by the agent never came", where, count(g.Count, "event"))
	}
	return fmt.Sprintf("%s: %s lost (%s)", where, count(g.Count, g.Source+" fact"), g.Reason)
}

func count(n uint64, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func node(cluster, name string) string {
	if cluster == "" {
		return name
	}
	return cluster + "/" + name
}

// silent names nodes whose agent should be heard of within the scope and is not.
func (t *Teller) silent(ctx context.Context, s Scope, now time.Time) ([]string, error) {
	runs, err := t.Store.Runs(ctx)
	if err != nil {
		return nil, err
	}
	until := now
	if !s.To.IsZero() && s.To.Before(now) {
		until = s.To
	}
	var sentences []string
	for i, r := range runs {
		latest := i+1 == len(runs) || runs[i+1].Node != r.Node || runs[i+1].Cluster != r.Cluster
		if !latest || s.Node != "" && s.Node != r.Node || t.Connected(r.Run) {
			continue
		}
		if quiet := until.Sub(r.Seen); quiet > silence && now.Sub(r.Seen) < gone {
			sentences = append(sentences, fmt.Sprintf("node %s: its agent is silent since %s", node(r.Cluster, r.Node), r.Seen.UTC().Format(time.RFC3339)))
		}
	}
	slices.Sort(sentences)
	return sentences, nil
}
