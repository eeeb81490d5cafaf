// SPDX-License-Identifier: Apache-2.0

// Package finding gives verdicts a life: a verdict opens a finding, more of them count, a clearance resolves it, a
// person acknowledges it, silence lets it expire, and what comes back reopens it.
//
// The Engine runs the judge over events in the order in which they are committed and hands out the findings that
// changed, so that they become durable with the events that they follow from. It must not know the wire, any engine
// of the store or any receiver of alerts.
package finding

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/prometheus/client_golang/prometheus"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
	"github.com/spoor/spoor/contract"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Judge is what the engine needs of contract.Judge.
type Judge interface {
	Observe(ev *spoorv1.Event) []contract.Verdict
	Tick(now time.Time) []contract.Verdict
}

// Store is what the engine reads.
type Store interface {
	LastID(ctx context.Context) (uint64, error)
	Events(ctx context.Context, q store.EventQuery) (*store.EventPage, error)
	EventsByID(ctx context.Context, ids []uint64) ([]*spoorv1.Event, error)
	Finding(ctx context.Context, fingerprint string) (*spoorv1.Finding, error)
	Findings(ctx context.Context, q store.FindingQuery) ([]*spoorv1.Finding, error)
}

// Options of New. Zero values mean the defaults.
type Options struct {
	Store Store // required
	// NewJudge makes a judge that remembers nothing. Required.
	NewJudge func() Judge
	// Completeness says how complete the view of a node was in an interval. It is asked once a minute and node, for the
	// last hour; what it cannot answer within 2 seconds is a gap. Required.
	Completeness func(ctx context.Context, from, to time.Time, node string) (*spoorv1.Completeness, error)
	// Agents says of every node that ever reported whether its agent is there. Without it nobody is told of silent agents.
	Agents func(ctx context.Context) ([]Attendance, error)
	// Shared: others change findings in the store, too, so each is read again before it changes.
	Shared bool
	// Budget bounds what receivers are told.
	Budget Budget
	// Replay is how far back the judge looks when it starts: 6 hours, and at most ReplayEvents: 200000.
	Replay       time.Duration
	ReplayEvents uint64
	// Expire is how long a finding that nothing new is known of stays open: 30 days.
	Expire     time.Duration
	Logger     *slog.Logger          // required
	Registerer prometheus.Registerer // required
}

const (
	// firstEvidence and latestEvidence are how many events prove a finding.
	firstEvidence  = 3
	latestEvidence = 5
	// cached is how many findings are kept in memory besides those that changed.
	cached = 4096
	// How complete the view of a node was is asked for completenessSpan, at most once in completenessAge.
	completenessSpan    = time.Hour
	completenessAge     = time.Minute
	completenessTimeout = 2 * time.Second
	// maxNodes bounds the answers that are kept.
	maxNodes = 16384
	// expireEvery is how often the store is asked for findings that expire.
	expireEvery = time.Hour
	// maxExpired bounds the findings that expire at a time.
	maxExpired = 1000
)

// Engine is used by one goroutine at a time.
type Engine struct {
	o          Options
	judge      Judge
	cache      *simplelru.LRU[string, *spoorv1.Finding]
	changed    map[string]*store.FindingChange
	order      []string        // of changed
	views      map[string]view // by node
	nextExpire time.Time
	// When the engine first ticked, and when it asks again which agents are there.
	started, nextAttend time.Time
	till                *till
	metrics             metrics
}

// view is how complete the view of a node was when it was asked for.
type view struct {
	at           time.Time
	completeness *spoorv1.Completeness
}

// New returns an engine whose judge knows nothing: call Rebuild.
func New(o Options) (*Engine, error) {
	switch {
	case o.Store == nil:
		return nil, errors.New("finding: Options.Store is nil")
	case o.NewJudge == nil:
		return nil, errors.New("finding: Options.NewJudge is nil")
	case o.Completeness == nil:
		return nil, errors.New("finding: Options.Completeness is nil")
	case o.Logger == nil:
		return nil, errors.New("finding: Options.Logger is nil")
	case o.Registerer == nil:
		return nil, errors.New("finding: Options.Registerer is nil")
	}
	if o.Replay == 0 {
		o.Replay = 6 * time.Hour
	}
	if o.ReplayEvents == 0 {
		o.ReplayEvents = 200_000
	}
	if o.Expire == 0 {
		o.Expire = 30 * 24 * time.Hour
	}
	e := &Engine{o: o, judge: o.NewJudge(), changed: map[string]*store.FindingChange{}, views: map[string]view{}}
	var err error
	if e.cache, err = simplelru.NewLRU[string, *spoorv1.Finding](cached, nil); err != nil {
		return nil, err
	}
	if e.till, err = newTill(o.Budget); err != nil {
		return nil, err
	}
	return e, e.metrics.init(o.Registerer, e.till)
}

// Observe judges an event that is about to be committed, or one whose peer became known.
func (e *Engine) Observe(ctx context.Context, ev *spoorv1.Event, now time.Time) error {
	return e.apply(ctx, e.judge.Observe(ev), now)
}

// Tick lets time pass: for the judge, and for findings that nothing is heard of any more.
func (e *Engine) Tick(ctx context.Context, now time.Time) error {
	if j, ok := e.judge.(interface{ Stats() contract.Stats }); ok {
		e.metrics.unlabelled.Store(j.Stats().Unjudged.Labels)
	}
	if err := e.apply(ctx, e.judge.Tick(now), now); err != nil {
		return err
	}
	if err := e.attend(ctx, now); err != nil {
		return err
	}
	if err := e.release(ctx, now); err != nil {
		return err
	}
	if now.Before(e.nextExpire) {
		return nil
	}
	e.nextExpire = now.Add(expireEvery)
	return e.expire(ctx, now)
}

// Take returns what changed since it was called last. The caller writes it, or calls Rebuild when that failed.
func (e *Engine) Take() []store.FindingChange {
	var all []store.FindingChange
	for _, fingerprint := range e.order {
		c := e.changed[fingerprint]
		// What is handed out must not change while it is written; the next verdict works on a copy.
		e.cache.Add(fingerprint, c.Finding)
		all = append(all, *c)
	}
	clear(e.changed)
	e.order = e.order[:0]
	return all
}

// Changed reports whether Take would return anything.
func (e *Engine) Changed() bool { return len(e.changed) > 0 }

func (e *Engine) apply(ctx context.Context, verdicts []contract.Verdict, now time.Time) error {
	for i := range verdicts {
		v := &verdicts[i]
		f, err := e.find(ctx, v.Fingerprint())
		if err != nil {
			return err
		}
		if v.Cleared {
			e.clear(f, v, now)
			continue
		}
		e.raise(ctx, f, v, now)
	}
	return nil
}

// find returns a copy that may be changed, or an empty finding with the fingerprint.
func (e *Engine) find(ctx context.Context, fingerprint string) (*spoorv1.Finding, error) {
	if c, ok := e.changed[fingerprint]; ok {
		return c.Finding, nil
	}
	if f, ok := e.cache.Get(fingerprint); ok && !e.o.Shared {
		return proto.CloneOf(f), nil
	}
	f, err := e.o.Store.Finding(ctx, fingerprint)
	if errors.Is(err, store.ErrNotFound) {
		return &spoorv1.Finding{Fingerprint: fingerprint, Id: fingerprint[:min(10, len(fingerprint))]}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("finding %s: %w", fingerprint, err)
	}
	return f, nil
}

func (e *Engine) change(f *spoorv1.Finding, notify bool) {
	c, ok := e.changed[f.GetFingerprint()]
	if !ok {
		c = &store.FindingChange{Finding: f}
		e.changed[f.GetFingerprint()] = c
		e.order = append(e.order, f.GetFingerprint())
	}
	c.Notify = c.Notify || notify
}

// raise takes a verdict. One that tells nothing that the finding does not know, as a judge does that looks at old
// events again, changes nothing.
func (e *Engine) raise(ctx context.Context, f *spoorv1.Finding, v *contract.Verdict, now time.Time) {
	fresh := newEvidence(f, v.Evidence)
	known := f.GetState() != spoorv1.FindingState_FINDING_STATE_UNSPECIFIED
	if known && (len(fresh) == 0 && (len(v.Evidence) > 0 || !v.Time.After(f.GetLastSeen().AsTime()))) {
		return
	}
	e.metrics.verdicts.WithLabelValues(v.Rule).Inc()
	f.Rule, f.Severity, f.Workload, f.Owner = v.Rule, v.Severity, v.Workload, v.Owner
	f.Title, f.Why, f.Fix, f.Subject, f.Contract = v.Title, v.Why, v.Fix, v.Subject, v.Contract
	f.Count += uint32(max(len(fresh), 1)) //nolint:gosec // a few events
	f.EvidenceIds = addEvidence(f.GetEvidenceIds(), fresh)
	at := timestamppb.New(v.Time)
	if !known || at.AsTime().Before(f.GetFirstSeen().AsTime()) {
		f.FirstSeen = at
	}
	if !known || at.AsTime().After(f.GetLastSeen().AsTime()) {
		f.LastSeen = at
	}
	notify := false
	switch f.GetState() {
	case spoorv1.FindingState_FINDING_STATE_OPEN, spoorv1.FindingState_FINDING_STATE_ACKNOWLEDGED:
	case spoorv1.FindingState_FINDING_STATE_UNSPECIFIED:
		notify = e.open(f, true, now)
		e.setState(f, spoorv1.FindingState_FINDING_STATE_OPEN, "opened", "", now)
	default:
		notify = e.open(f, false, now)
		e.setState(f, spoorv1.FindingState_FINDING_STATE_OPEN, "reopened", "", now)
	}
	f.Completeness = e.completeness(ctx, v, now)
	e.change(f, notify)
}

// completeness says how complete the view was of the node that the verdict is about. A verdict is worth more than the
// answer to this: it waits only so long for it.
func (e *Engine) completeness(ctx context.Context, v *contract.Verdict, now time.Time) *spoorv1.Completeness {
	node := ""
	if len(v.Evidence) > 0 {
		node = v.Evidence[0].GetNode()
	}
	if known, ok := e.views[node]; ok && now.Sub(known.at) < completenessAge {
		return known.completeness
	}
	ctx, cancel := context.WithTimeout(ctx, completenessTimeout)
	defer cancel()
	c, err := e.o.Completeness(ctx, now.Add(-completenessSpan), now, node)
	if err != nil {
		e.o.Logger.Warn("it is not known how complete the view is", "node", node, "error", err)
		c = &spoorv1.Completeness{Gaps: []string{"it could not be found out what is missing"}}
	}
	if len(e.views) >= maxNodes {
		clear(e.views)
	}
	e.views[node] = view{now, c}
	return c
}

func (e *Engine) clear(f *spoorv1.Finding, v *contract.Verdict, now time.Time) {
	if !isOpen(f) || v.Time.Before(f.GetLastSeen().AsTime()) {
		return
	}
	if fresh := newEvidence(f, v.Evidence); len(fresh) > 0 {
		f.EvidenceIds = addEvidence(f.GetEvidenceIds(), fresh)
	}
	e.setState(f, spoorv1.FindingState_FINDING_STATE_RESOLVED, "cleared", "the cause is gone", now)
	e.change(f, e.wasTold(f))
}

func (e *Engine) setState(f *spoorv1.Finding, s spoorv1.FindingState, change, note string, now time.Time) {
	f.State, f.StateChanged, f.Note = s, timestamppb.New(now), note
	e.metrics.changes.WithLabelValues(change).Inc()
}

// expire closes findings that nothing was heard of for long.
func (e *Engine) expire(ctx context.Context, now time.Time) error {
	open, err := e.o.Store.Findings(ctx, store.FindingQuery{States: []spoorv1.FindingState{
		spoorv1.FindingState_FINDING_STATE_OPEN, spoorv1.FindingState_FINDING_STATE_ACKNOWLEDGED,
	}})
	if err != nil {
		return fmt.Errorf("expire findings: %w", err)
	}
	expired := 0
	for _, stored := range open {
		f, err := e.find(ctx, stored.GetFingerprint())
		if err != nil {
			return err
		}
		if !isOpen(f) || now.Sub(f.GetLastSeen().AsTime()) < e.o.Expire || expired == maxExpired {
			continue
		}
		expired++
		e.setState(f, spoorv1.FindingState_FINDING_STATE_EXPIRED, "expired", "nothing was heard of it for "+e.o.Expire.String(), now)
		e.change(f, e.wasTold(f))
	}
	return nil
}

// wasTold says whether receivers know of a finding that is over, and ends its waiting.
func (e *Engine) wasTold(f *spoorv1.Finding) bool {
	return !e.till.forget(f.GetFingerprint()) && f.GetSeverity() > spoorv1.Severity_SEVERITY_INFO
}

func isOpen(f *spoorv1.Finding) bool {
	return f.GetState() == spoorv1.FindingState_FINDING_STATE_OPEN || f.GetState() == spoorv1.FindingState_FINDING_STATE_ACKNOWLEDGED
}
