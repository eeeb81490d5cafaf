// SPDX-License-Identifier: Apache-2.0

// Package ingest takes what agents send and makes it durable, exactly once in effect.
//
// Service speaks with agents and checks what they say. The Committer is the one place where events get their ids, in
// the order in which they become durable: it drops what it has, names the ends of flows, has the judge look, and
// writes all that follows in one transaction; only then is a batch acknowledged. The package must not know how the
// store keeps things, what the rules are, or who asks questions.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/finding"
	"github.com/spoor/spoor/collector/identity"
	"github.com/spoor/spoor/collector/store"
)

// Store is what a Committer needs.
type Store interface {
	store.Writer
	LastID(ctx context.Context) (uint64, error)
	Runs(ctx context.Context) ([]store.RunStatus, error)
	Events(ctx context.Context, q store.EventQuery) (*store.EventPage, error)
}

// CommitterOptions of NewCommitter. Zero values mean the defaults.
type CommitterOptions struct {
	Store    Store              // required
	Resolver *identity.Resolver // required
	Findings *finding.Engine    // required
	// Receivers are the outboxes that findings go to. Told, where it is set, is called when something was put there; it
	// must not block.
	Receivers []string
	Told      func()
	// GroupEvents is how many events are gathered into one transaction when batches queue up: 2000. One batch is
	// never split.
	GroupEvents int
	Logger      *slog.Logger          // required
	Registerer  prometheus.Registerer // required
}

// Committer writes. Its Run must be running for anything else to return.
type Committer struct {
	o       CommitterOptions
	queue   *queue
	asks    chan *ask
	stopped chan struct{}
	watch   *watch
	metrics *commitMetrics

	// What follows belongs to the goroutine of Run.
	lastID       uint64
	committed    time.Time            // when the last transaction ended
	heard        uint64               // up to which id other collectors' events were looked at
	acknowledged map[store.Run]uint64 // one entry a run that the store knows
	clusters     map[string]string    // of nodes, as far as runs are known
	// trouble is why the last transaction failed; until retry nothing is tried.
	trouble error
	retry   time.Time
	backoff time.Duration
}

// submission is something of an agent that waits to be durable: a hello or a batch.
type submission struct {
	hello     *store.Hello
	batch     *store.Batch
	submitted time.Time
	// done gets one error, or nil, when it is durable or cannot be.
	done chan error
	// acknowledged and duplicate are set before done: the highest durable batch of the run, and whether this one was
	// durable before.
	acknowledged uint64
	duplicate    bool
}

// ask is a person's change.
type ask struct {
	change func(ctx context.Context, now time.Time) error
	done   chan error
}

const (
	minBackoff = 500 * time.Millisecond
	maxBackoff = 30 * time.Second
	// pause is between two transactions as long as there is little: each costs what some hundred events do.
	pause = 20 * time.Millisecond
	// A batch of few events may still go into a transaction that has its GroupEvents, up to crowd times as many.
	few, crowd = 20, 5
	// tick is how often the judge is told the time.
	tick = time.Second
	// Flows and listeners that the resolver is shown when it starts.
	learnFlows, learnListens = 65536, 65536
	learnBack                = 15 * time.Minute
)

// ErrStopped: the collector is stopping.
var ErrStopped = errors.New("the collector is stopping")

// NewCommitter returns a Committer that has yet to Run.
func NewCommitter(o CommitterOptions) (*Committer, error) {
	switch {
	case o.Store == nil:
		return nil, errors.New("ingest: CommitterOptions.Store is nil")
	case o.Resolver == nil:
		return nil, errors.New("ingest: CommitterOptions.Resolver is nil")
	case o.Findings == nil:
		return nil, errors.New("ingest: CommitterOptions.Findings is nil")
	case o.Logger == nil:
		return nil, errors.New("ingest: CommitterOptions.Logger is nil")
	case o.Registerer == nil:
		return nil, errors.New("ingest: CommitterOptions.Registerer is nil")
	}
	if o.GroupEvents == 0 {
		o.GroupEvents = 2000
	}
	c := &Committer{
		o: o, queue: newQueue(), asks: make(chan *ask), stopped: make(chan struct{}),
		watch: newWatch(), acknowledged: map[store.Run]uint64{}, clusters: map[string]string{},
	}
	var err error
	c.metrics, err = newCommitMetrics(o.Registerer, c)
	return c, err
}

// Run commits until ctx ends, and then what waits already. It first learns from the store what a collector that
// never stopped would know.
func (c *Committer) Run(ctx context.Context) error {
	defer close(c.stopped)
	groups, over := make(chan settled), make(chan struct{})
	go func() {
		defer close(over)
		c.settle(groups)
	}()
	defer func() {
		close(groups)
		<-over
	}()
	// A transaction is not abandoned half-way because somebody wants to stop.
	work := context.WithoutCancel(ctx)
	if err := c.recover(work); err != nil {
		return fmt.Errorf("start from the store: %w", err)
	}
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-c.queue.ready:
			c.linger(ctx)
			c.commit(work, c.gather(), groups)
			c.committed = time.Now()
		case a := <-c.asks:
			a.done <- c.answer(work, a)
		case now := <-ticker.C:
			c.tick(work, now)
		case <-ctx.Done():
			for c.queue.len() > 0 {
				c.commit(work, c.gather(), groups)
			}
			return nil
		}
	}
}

// linger lets a little wait for more, unless nothing was committed just before.
func (c *Committer) linger(ctx context.Context) {
	wait := pause - time.Since(c.committed)
	if wait <= 0 || c.queue.events() >= c.o.GroupEvents {
		return
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
	}
}

// Healthy returns why nothing can be committed, or nil.
func (c *Committer) Healthy() error { return c.metrics.trouble() }

// UpdateFinding changes the state of a finding as a person says.
func (c *Committer) UpdateFinding(ctx context.Context, fingerprint string, state spoorv1.FindingState, note string) (f *spoorv1.Finding, err error) {
	err = c.Change(ctx, func(ctx context.Context, now time.Time) (err error) {
		f, err = c.o.Findings.Update(ctx, fingerprint, state, note, now)
		return err
	})
	return f, err
}

// Change does something to findings between two commits, and makes durable what follows from it.
func (c *Committer) Change(ctx context.Context, change func(ctx context.Context, now time.Time) error) error {
	a := &ask{done: make(chan error, 1), change: change}
	select {
	case c.asks <- a:
		return <-a.done
	case <-c.stopped:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

// submit queues s, which is waited for with await.
func (c *Committer) submit(s *submission) {
	s.done = make(chan error, 1)
	s.submitted = time.Now()
	c.queue.put(s)
}

// await returns when s is durable, or cannot be.
func (c *Committer) await(s *submission) error {
	select {
	case err := <-s.done:
		return err
	case <-c.stopped:
	}
	// It may have been answered before the end, or have been queued just after it.
	select {
	case err := <-s.done:
		return err
	default:
		return ErrStopped
	}
}

// gather takes what waits into one transaction, of GroupEvents events or one batch that has more: the fewer transactions, the less
// each event costs; the larger they are, the longer a quiet node waits. Its few events do not wait for a large batch
// behind them, either. Where many nodes have little each, more goes into one: their events share few pages of the store, each of which is
// written once a transaction.
func (c *Committer) gather() []*submission {
	var group []*submission
	now := time.Now()
	for most, taken := -1, 0; ; {
		s := c.queue.take(most)
		if s == nil {
			break
		}
		c.metrics.waited.Observe(now.Sub(s.submitted).Seconds())
		group = append(group, s)
		taken += s.events()
		if most = max(c.o.GroupEvents-taken, 0); most < few && taken < crowd*c.o.GroupEvents {
			most = few
		}
	}
	if c.queue.len() > 0 {
		c.queue.wake()
	}
	return group
}

func (s *submission) events() int {
	if s.batch == nil {
		return 1
	}
	return len(s.batch.Events)
}

// commit writes a group, and passes it on to whoever answers everybody in it.
func (c *Committer) commit(ctx context.Context, group []*submission, groups chan<- settled) {
	if len(group) == 0 {
		return
	}
	begun := time.Now()
	done := settled{group: group}
	err := c.ready(ctx, begun)
	if err == nil {
		done.findings, done.durable, err = c.write(ctx, group, begun)
		c.outcome(err, begun)
	}
	c.metrics.committed(group, time.Since(begun), err)
	if done.failed = err; err == nil {
		for _, s := range group {
			run := s.run()
			if s.batch != nil {
				c.acknowledged[run] = max(c.acknowledged[run], s.batch.Sequence)
			}
			s.acknowledged = c.acknowledged[run]
		}
	}
	groups <- done
}

func (s *submission) run() store.Run {
	if s.hello != nil {
		return s.hello.Run
	}
	return s.batch.Run
}

// write puts a group and all that follows from it into one transaction.
func (c *Committer) write(ctx context.Context, group []*submission, now time.Time) (findings []store.FindingChange, durable func() error, err error) {
	if err := c.begin(ctx, group); err != nil {
		return nil, nil, err
	}
	w := &store.Write{Receivers: c.o.Receivers}
	have := map[store.Run]uint64{}
	var named []identity.Batch
	for _, s := range group {
		if s.hello != nil {
			w.Runs = append(w.Runs, *s.hello)
			continue
		}
		run := s.batch.Run
		if s.batch.Sequence <= max(have[run], c.acknowledged[run]) {
			c.metrics.duplicates.Inc()
			s.duplicate = true
			continue
		}
		have[run] = s.batch.Sequence
		for _, ev := range s.batch.Events {
			c.lastID++
			ev.Id = c.lastID
		}
		w.Batches = append(w.Batches, *s.batch)
		named = append(named, identity.Batch{Cluster: run.Cluster, Events: s.batch.Events})
	}
	if err := c.judge(ctx, w, c.o.Resolver.Resolve(named), named, now); err != nil {
		return nil, nil, err
	}
	durable, err = c.put(ctx, w)
	return w.Findings, durable, err
}

// judge shows events to the judge, and those that were stored before and got the name of their peer by them; what follows goes into w.
func (c *Committer) judge(ctx context.Context, w *store.Write, renamed []*spoorv1.Event, batches []identity.Batch, now time.Time) error {
	w.Named = renamed
	for _, ev := range renamed {
		if err := c.o.Findings.Observe(ctx, ev, now); err != nil {
			return err
		}
	}
	for _, b := range batches {
		for _, ev := range b.Events {
			if err := c.o.Findings.Observe(ctx, ev, now); err != nil {
				return err
			}
		}
	}
	w.Findings = c.o.Findings.Take()
	return nil
}

// tell lets receivers know that something waits for them.
func (c *Committer) tell(changes []store.FindingChange) {
	if c.o.Told != nil && slices.ContainsFunc(changes, func(f store.FindingChange) bool { return f.Notify }) {
		c.o.Told()
	}
}

// answer does what a person asks for.
func (c *Committer) answer(ctx context.Context, a *ask) error {
	now := time.Now()
	if err := c.ready(ctx, now); err != nil {
		return err
	}
	if err := a.change(ctx, now); err != nil {
		return err
	}
	return c.writeFindings(ctx, now)
}

func (c *Committer) tick(ctx context.Context, now time.Time) {
	err := c.ready(ctx, now)
	if err != nil {
		return // said when it began
	}
	if err = c.overhear(ctx, now); err == nil {
		err = c.o.Findings.Tick(ctx, now)
	}
	if err == nil {
		err = c.writeFindings(ctx, now)
	} else {
		c.outcome(err, now)
	}
	if err != nil {
		c.o.Logger.Error("findings could not be written", "error", err)
	}
}

// writeFindings commits what changed without an event.
func (c *Committer) writeFindings(ctx context.Context, now time.Time) error {
	if !c.o.Findings.Changed() {
		return nil
	}
	changes := c.o.Findings.Take()
	err := c.o.Store.Write(ctx, &store.Write{Findings: changes, Receivers: c.o.Receivers})
	c.outcome(err, now)
	if err == nil {
		c.tell(changes)
	}
	return err
}
