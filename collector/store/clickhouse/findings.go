// SPDX-License-Identifier: Apache-2.0

package clickhouse

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
)

// stored is a row of the ledger that is about to be replaced.
type stored struct {
	version uint64
	body    []byte
}

// current returns the rows of a kind with these keys.
func (s *Store) current(ctx context.Context, kind string, keys []string) (map[string]stored, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	quoted := make([]string, len(keys))
	for i, key := range keys {
		quoted[i] = quote(key)
	}
	d, err := s.client.query(ctx, "SELECT key, version, body FROM "+s.ledger()+" FINAL WHERE kind = "+quote(kind)+" AND key IN ("+strings.Join(quoted, ", ")+")")
	if err != nil {
		return nil, err
	}
	rows := map[string]stored{}
	for d.more() {
		key := d.text()
		rows[key] = stored{d.u64(), d.bytes()}
	}
	return rows, d.err
}

// findings replaces findings, and puts those that receivers must hear of into their outboxes.
func (o *writing) findings(changes []store.FindingChange, receivers []string) error {
	var fingerprints, notices []string
	for i := range changes {
		fingerprint := changes[i].Finding.GetFingerprint()
		fingerprints = append(fingerprints, fingerprint)
		for _, receiver := range receivers {
			if changes[i].Notify {
				notices = append(notices, joinKey(receiver, fingerprint))
			}
		}
	}
	old, err := o.current(o.ctx, "finding", fingerprints)
	if err != nil {
		return fmt.Errorf("findings: %w", err)
	}
	outbox, err := o.current(o.ctx, "outbox", notices)
	if err != nil {
		return fmt.Errorf("outbox: %w", err)
	}
	for i := range changes {
		f := changes[i].Finding
		if err := o.rows.finding(f, old[f.GetFingerprint()].version+1, o.txn.txn); err != nil {
			return fmt.Errorf("finding %s: %w", f.GetId(), err)
		}
	}
	for _, key := range notices {
		was := outbox[key]
		e, err := was.entry()
		if err != nil {
			return err
		}
		if e.Gone {
			e = entry{Revision: e.Revision}
		}
		e.Revision, e.Next, e.Attempts = e.Revision+1, 0, 0
		if err := o.rows.entry(key, e, was.version+1, o.txn.txn, time.Time{}); err != nil {
			return err
		}
	}
	return nil
}

// findingDoc is a finding for people's SQL.
type findingDoc struct {
	Rule     string   `json:"rule"`
	Severity int32    `json:"severity"`
	State    int32    `json:"state"`
	Workload []string `json:"workload,omitempty"`
	Subject  string   `json:"subject"`
	Title    string   `json:"title"`
	Contract string   `json:"contract"`
	Count    uint32   `json:"count"`
	First    int64    `json:"first_seen"`
	Last     int64    `json:"last_seen"`
	Note     string   `json:"note"`
}

func (e *ledgerRows) finding(f *spoorv1.Finding, version, txn uint64) error {
	body, err := proto.Marshal(f)
	if err != nil {
		return err
	}
	first, err := store.Nanos(f.GetFirstSeen())
	if err != nil {
		return err
	}
	last, err := store.Nanos(f.GetLastSeen())
	if err != nil {
		return err
	}
	doc, err := json.Marshal(findingDoc{
		Rule: f.GetRule(), Severity: int32(f.GetSeverity()), State: int32(f.GetState()), Workload: ofWorkload(f.GetWorkload()).parts(), Subject: f.GetSubject(),
		Title: f.GetTitle(), Contract: f.GetContract(), Count: f.GetCount(), First: first, Last: last, Note: f.GetNote(),
	})
	if err != nil {
		return err
	}
	e.add(ledgerRow{
		kind: "finding", key: f.GetFingerprint(), version: version, txn: txn, first: uint64(small(int32(f.GetState()))), time: last, label: f.GetRule(), body: body, doc: string(doc),
	})
	return nil
}

// workloadDoc is the other end of a flow for people's SQL.
func workloadDoc(w *spoorv1.Workload, execID string) (string, error) {
	b, err := json.Marshal(struct {
		Workload []string `json:"workload,omitempty"`
		ExecID   string   `json:"exec_id,omitempty"`
	}{ofWorkload(w).parts(), execID})
	return string(b), err
}

// Findings implements store.Reader.
func (s *Store) Findings(ctx context.Context, q store.FindingQuery) ([]*spoorv1.Finding, error) {
	condition := ""
	if len(q.States) > 0 {
		states := make([]string, len(q.States))
		for i, state := range q.States {
			states[i] = fmt.Sprint(small(int32(state)))
		}
		condition += " AND first IN (" + strings.Join(states, ", ") + ")"
	}
	if q.Rule != "" {
		condition += " AND label = " + quote(q.Rule)
	}
	all, err := s.selectFindings(ctx, condition)
	if err != nil {
		return nil, err
	}
	if q.Workload != nil {
		all = slices.DeleteFunc(all, func(f *spoorv1.Finding) bool { return !q.Workload.Match(f.GetWorkload()) })
	}
	sort.SliceStable(all, func(i, j int) bool {
		return all[i].GetLastSeen().AsTime().After(all[j].GetLastSeen().AsTime())
	})
	if q.Limit > 0 && len(all) > q.Limit {
		all = all[:q.Limit]
	}
	return all, nil
}

// selectFindings returns findings in the order of their fingerprints.
func (s *Store) selectFindings(ctx context.Context, condition string) ([]*spoorv1.Finding, error) {
	d, err := s.client.query(ctx, "SELECT body FROM "+s.ledger()+" FINAL WHERE kind = 'finding'"+condition+" ORDER BY key")
	if err != nil {
		return nil, fmt.Errorf("query findings: %w", err)
	}
	var all []*spoorv1.Finding
	for d.more() {
		f := &spoorv1.Finding{}
		if err := proto.Unmarshal(d.bytes(), f); err != nil {
			return nil, fmt.Errorf("query findings: %w", err)
		}
		all = append(all, f)
	}
	if d.err != nil {
		return nil, fmt.Errorf("query findings: %w", d.err)
	}
	return all, nil
}

// Finding implements store.Reader.
func (s *Store) Finding(ctx context.Context, fingerprint string) (*spoorv1.Finding, error) {
	all, err := s.selectFindings(ctx, " AND key = "+quote(fingerprint))
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("finding %s: %w", fingerprint, store.ErrNotFound)
	}
	return all[0], nil
}

// FindingIDs implements store.Reader.
func (s *Store) FindingIDs(ctx context.Context, prefix string, limit int) ([]store.FindingID, error) {
	all, err := s.selectFindings(ctx, " AND startsWith(key, "+quote(prefix)+")")
	if err != nil {
		return nil, err
	}
	ids := make([]store.FindingID, min(len(all), limit))
	for i := range ids {
		ids[i] = store.FindingID{ID: all[i].GetId(), Fingerprint: all[i].GetFingerprint()}
	}
	return ids, nil
}
