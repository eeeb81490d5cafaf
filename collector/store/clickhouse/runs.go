// SPDX-License-Identifier: Apache-2.0

package clickhouse

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
)

// runState is what is kept of a run, as JSON.
type runState struct {
	Cluster       string            `json:"cluster"`
	Node          string            `json:"node"`
	Epoch         string            `json:"epoch"`
	BootID        string            `json:"boot_id,omitempty"`
	Version       string            `json:"version,omitempty"`
	KernelRelease string            `json:"kernel_release,omitempty"`
	Architecture  string            `json:"architecture,omitempty"`
	Start         time.Time         `json:"start,omitzero"`
	Seen          time.Time         `json:"seen"`
	Skew          time.Duration     `json:"skew_nano"`
	Acknowledged  uint64            `json:"acknowledged"`
	LastSequence  uint64            `json:"last_sequence"`
	Coverage      map[string]sensor `json:"coverage,omitempty"`
}

// sensor is the latest word of a sensor.
type sensor struct {
	Tier   string    `json:"tier"`
	Reason string    `json:"reason"`
	Time   time.Time `json:"time"`
}

func (r *runState) cover(c *spoorv1.Coverage, t time.Time) {
	if old, ok := r.Coverage[c.GetSensor()]; ok && t.Before(old.Time) {
		return
	}
	if r.Coverage == nil {
		r.Coverage = map[string]sensor{}
	}
	r.Coverage[c.GetSensor()] = sensor{c.GetTier(), c.GetReason(), t}
}

func (e *ledgerRows) run(key string, r *runState, txn uint64) error {
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	e.add(ledgerRow{kind: "run", key: key, version: txn, txn: txn, time: r.Seen.UnixNano(), body: body})
	return nil
}

// run returns what is durable of a run; it must not be changed.
func (s *Store) run(ctx context.Context, r store.Run) (*runState, error) {
	key := runKey(r)
	if state, ok := s.runs.Get(key); ok {
		return state, nil
	}
	d, err := s.client.query(ctx, "SELECT body FROM "+s.ledger()+" FINAL WHERE kind = 'run' AND key = "+quote(key))
	for err == nil && s.layout.cluster != "" && s.synced != s.client.current.Load() {
		// Another replica has answered than the one that is known to have everything.
		if err = s.sync(ctx); err == nil {
			d, err = s.client.query(ctx, "SELECT body FROM "+s.ledger()+" FINAL WHERE kind = 'run' AND key = "+quote(key))
		}
	}
	if err != nil {
		return nil, err
	}
	state := &runState{Cluster: r.Cluster, Node: r.Node, Epoch: r.Epoch}
	if d.more() {
		if err := json.Unmarshal(d.bytes(), state); err != nil {
			return nil, fmt.Errorf("run %s of node %s: %w", r.Epoch, r.Node, err)
		}
	}
	if d.err != nil {
		return nil, d.err
	}
	s.runs.Add(key, state)
	return state, nil
}

// touch returns what will be durable of a run.
func (o *writing) touch(r store.Run) (*runState, error) {
	key := runKey(r)
	if state, ok := o.touched[key]; ok {
		return state, nil
	}
	stored, err := o.run(o.ctx, r)
	if err != nil {
		return nil, err
	}
	state := *stored
	state.Coverage = maps.Clone(stored.Coverage)
	o.touched[key] = &state
	return &state, nil
}

func (o *writing) hello(h *store.Hello) error {
	run, err := o.touch(h.Run)
	if err != nil {
		return err
	}
	run.BootID, run.Version, run.KernelRelease, run.Architecture = h.BootID, h.Version, h.KernelRelease, h.Architecture
	run.Start, run.Seen = h.Start, later(run.Seen, h.Seen)
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Runs implements store.Reader.
func (s *Store) Runs(ctx context.Context) ([]store.RunStatus, error) {
	d, err := s.client.query(ctx, "SELECT txn, body FROM "+s.ledger()+" FINAL WHERE kind = 'run'")
	if err != nil {
		return nil, fmt.Errorf("query agents: %w", err)
	}
	var runs []store.RunStatus
	for d.more() {
		_ = d.u64()
		var r runState
		if err := json.Unmarshal(d.bytes(), &r); err != nil {
			return nil, fmt.Errorf("query agents: %w", err)
		}
		status := store.RunStatus{
			Hello: store.Hello{
				Run:    store.Run{Cluster: r.Cluster, Node: r.Node, Epoch: r.Epoch},
				BootID: r.BootID, Version: r.Version, KernelRelease: r.KernelRelease, Architecture: r.Architecture, Start: r.Start, Seen: r.Seen,
			},
			Acknowledged: r.Acknowledged, LastSequence: r.LastSequence, Skew: r.Skew,
		}
		for _, name := range slices.Sorted(maps.Keys(r.Coverage)) {
			c := r.Coverage[name]
			status.Coverage = append(status.Coverage, &spoorv1.Coverage{Sensor: name, Tier: c.Tier, Reason: c.Reason})
		}
		runs = append(runs, status)
	}
	if d.err != nil {
		return nil, fmt.Errorf("query agents: %w", d.err)
	}
	sort.SliceStable(runs, func(i, j int) bool {
		a, b := &runs[i], &runs[j]
		if c := strings.Compare(a.Cluster, b.Cluster); c != 0 {
			return c < 0
		}
		if c := strings.Compare(a.Node, b.Node); c != 0 {
			return c < 0
		}
		return a.Seen.Before(b.Seen)
	})
	return runs, nil
}

// Attend implements store.Shared. Nothing depends on it but what is said of silent agents, so it is no transaction.
func (s *Store) Attend(ctx context.Context, nodes []store.Node, now time.Time) error {
	if len(nodes) == 0 {
		return nil
	}
	rows := &ledgerRows{}
	for _, n := range nodes {
		rows.add(ledgerRow{
			kind: "presence", key: joinKey(n.Cluster, n.Name), version: uint64(now.UnixNano()),
			expires: now.Add(time.Hour), time: now.UnixNano(), label: s.session,
		})
	}
	if err := s.insertLedger(ctx, fmt.Sprintf("presence/%s/%d", s.session, now.UnixNano()), rows); err != nil {
		return fmt.Errorf("say which agents are here: %w", err)
	}
	return nil
}

// Attended implements store.Shared.
func (s *Store) Attended(ctx context.Context) (map[store.Node]time.Time, error) {
	d, err := s.client.query(ctx, "SELECT key, max(time) FROM "+s.ledger()+" WHERE kind = 'presence' AND expires > now() GROUP BY key")
	if err != nil {
		return nil, fmt.Errorf("query which agents are somewhere: %w", err)
	}
	nodes := map[store.Node]time.Time{}
	for d.more() {
		parts, t := splitKey(d.text()), d.i64()
		if len(parts) == 2 {
			nodes[store.Node{Cluster: parts[0], Name: parts[1]}] = time.Unix(0, t)
		}
	}
	if d.err != nil {
		return nil, fmt.Errorf("query which agents are somewhere: %w", d.err)
	}
	return nodes, nil
}
