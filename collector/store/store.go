// SPDX-License-Identifier: Apache-2.0

// Package store says what the collector needs of a place that keeps events, findings and what they are made of.
//
// It holds the interface, its types and the few rules that every engine shares (kinds, patterns of workloads, times).
// It must not know any engine, the wire, the judge or a receiver of alerts. Whether an engine keeps the promises
// made here is checked by the conformance suite in storetest.
package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// Store is one engine. Write and the other methods that change something may be called by one goroutine at a time
// per kind of change; reads may run beside them from any number of goroutines and see only what is durable.
type Store interface {
	Writer
	Reader
	Outbox

	// SQL runs one read-only statement.
	SQL(ctx context.Context, q SQLQuery) (*SQLResult, error)
	// Forget removes events older than before and what only they referred to, in steps small enough that writers do
	// not wait long, and says how many events went. It returns early, without an error, when ctx ends.
	Forget(ctx context.Context, before time.Time) (int, error)
	// Shrink forgets the oldest events, in the same way, until Stats.Used is at most limit. When something has to go, a tenth of
	// the limit is made free, so that the next events find room. The newest thousand events stay; when they and what does not
	// go with events take more than limit, the error is ErrNotShrunk.
	Shrink(ctx context.Context, limit int64) (int, error)
	// Close waits for reads that run and releases everything.
	Close() error
}

// Writer takes what the collector has learned.
type Writer interface {
	// Write makes all of w durable, or nothing. When it returns nil, w survives a crash of the process or the machine.
	Write(ctx context.Context, w *Write) error
}

// Ahead is a Writer that can go on while what it was given is brought to the disk.
type Ahead interface {
	// WriteAhead is Write up to where w survives a crash of the process: durable returns when it survives one of the machine, and so does
	// everything that was written before. When durable fails, the store takes nothing more.
	WriteAhead(ctx context.Context, w *Write) (durable func() error, err error)
}

// Write is one transaction.
type Write struct {
	// Runs are agents that said hello, or whose hello changed.
	Runs []Hello
	// Batches come in the order in which they are to be committed.
	Batches []Batch
	// Named are stored flows whose other end became known later, as they are now. An engine takes who is at the other end from them, and
	// may rely on the rest being as it was stored.
	Named []*spoorv1.Event
	// Findings replace what was stored under the same fingerprint.
	Findings []FindingChange
	// Receivers are the outboxes that a finding with Notify is put into.
	Receivers []string
}

// Run identifies one run of one agent.
type Run struct {
	Cluster, Node, Epoch string
}

// Hello is what an agent says about its run.
type Hello struct {
	Run
	BootID        string
	Version       string
	KernelRelease string
	Architecture  string
	Start         time.Time
	Seen          time.Time
}

// Batch is one batch of one run, expanded. An engine ignores a batch whose sequence is not above the last one that
// it has of the run, so that a Write whose outcome was not known may be repeated.
type Batch struct {
	Run      Run
	Sequence uint64
	// Received is the collector's clock; Skew is how far the agent's is ahead of it.
	Received time.Time
	Skew     time.Duration
	// Events carry ids, above all that were written before and growing. Events that name the same process, instance
	// or workload share one pointer; an engine may use that but must not rely on it, nor change what it is given.
	Events []*spoorv1.Event
}

// FindingChange is a finding as it is from now on.
type FindingChange struct {
	Finding *spoorv1.Finding
	// Notify: its state changed in a way that receivers must hear of.
	Notify bool
}

// Reader answers questions.
type Reader interface {
	// LastID is the highest event id that was ever written.
	LastID(ctx context.Context) (uint64, error)
	// Runs returns every run that is known, the latest last for each node.
	Runs(ctx context.Context) ([]RunStatus, error)

	// Events returns a page of events in the order of their ids.
	Events(ctx context.Context, q EventQuery) (*EventPage, error)
	// EventsByID returns those of the events that exist, in the order of their ids.
	EventsByID(ctx context.Context, ids []uint64) ([]*spoorv1.Event, error)
	// ExecIDs returns up to limit distinct exec ids that begin with prefix, sorted.
	ExecIDs(ctx context.Context, prefix string, limit int) ([]string, error)
	// Tree returns the process with its ancestors and descendants in the order of GetTreeResponse.nodes, at most
	// limit of them and whether that cut it. A process that is not known is ErrNotFound.
	Tree(ctx context.Context, execID string, limit int) (nodes []*spoorv1.TreeNode, cut bool, err error)
	// Edges returns who talks to whom.
	Edges(ctx context.Context, q EdgeQuery) ([]*spoorv1.Edge, error)

	// Findings returns findings, the most recently seen first.
	Findings(ctx context.Context, q FindingQuery) ([]*spoorv1.Finding, error)
	// Finding returns the finding with this fingerprint, or ErrNotFound.
	Finding(ctx context.Context, fingerprint string) (*spoorv1.Finding, error)
	// FindingIDs returns up to limit ids of findings whose fingerprint begins with prefix, sorted.
	FindingIDs(ctx context.Context, prefix string, limit int) ([]FindingID, error)

	// Gaps returns what is known to be missing in a period.
	Gaps(ctx context.Context, p Period) ([]Gap, error)
	// Stats describes the store itself.
	Stats(ctx context.Context) (*Stats, error)
}

// Outbox keeps what receivers of alerts must be told until they were told.
type Outbox interface {
	// Enrol makes sure that every finding that is open or acknowledged is in the receiver's outbox.
	Enrol(ctx context.Context, receiver string, now time.Time) error
	// Due returns notices whose next attempt is not after now, the longest due first.
	Due(ctx context.Context, receiver string, now time.Time, limit int) ([]*Notice, error)
	// NextDue returns when the next notice is due, and false when the outbox is empty.
	NextDue(ctx context.Context, receiver string) (time.Time, bool, error)
	// Settle records what came of notices. A notice whose finding changed since Due stays due.
	Settle(ctx context.Context, receiver string, outcomes []Outcome) error
	// Pending counts the notices in the outbox and those of them that the last attempt could not deliver.
	Pending(ctx context.Context, receiver string) (all, failing int, err error)
}

// Notice is one entry of an outbox.
type Notice struct {
	Finding *spoorv1.Finding
	// Revision of the entry: grows when the finding changes.
	Revision int64
	// Attempts that failed since the last success.
	Attempts int
	// Memo is what the receiver asked to keep, for example the labels of the alert as it was first sent.
	Memo []byte
}

// Outcome is what came of one notice.
type Outcome struct {
	Fingerprint string
	Revision    int64
	// Done removes the entry, unless the finding has changed since.
	Done bool
	// Failed counts an attempt; Problem says why.
	Failed  bool
	Problem string
	// Next is when to try, or tell, again.
	Next time.Time
	Memo []byte
}

// EventQuery selects events; zero fields select all.
type EventQuery struct {
	Period
	Kinds      []Kind
	Workload   *Pattern
	Node       string
	ExecID     string
	PathPrefix string
	Address    string
	// AfterID and ThroughID bound the id: AfterID < id <= ThroughID.
	AfterID, ThroughID uint64
	// Limit must be positive.
	Limit int
	// Newest returns the last events that match instead of the first; still in the order of their ids.
	Newest bool
}

// EventPage is one page of an answer.
type EventPage struct {
	Events []*spoorv1.Event
	// More events match than were returned.
	More bool
	// Through: every event up to this id was looked at (not with Newest).
	Through uint64
}

// EdgeQuery selects edges; zero fields select all.
type EdgeQuery struct {
	From, To time.Time
	// Workload at either end.
	Workload *Pattern
	Limit    int
}

// FindingQuery selects findings; zero fields select all.
type FindingQuery struct {
	States   []spoorv1.FindingState
	Workload *Pattern
	Rule     string
	Limit    int
}

// FindingID is a finding's short id with what it stands for.
type FindingID struct {
	ID, Fingerprint string
}

// RunStatus is what is known of a run.
type RunStatus struct {
	Hello
	// Acknowledged is the highest batch sequence that is durable.
	Acknowledged uint64
	// LastSequence is the highest event sequence that is durable.
	LastSequence uint64
	// Skew is how far the agent's clock was ahead of the collector's when its last batch came.
	Skew time.Duration
	// Coverage is the latest word of each sensor, sorted by sensor.
	Coverage []*spoorv1.Coverage
}

// Gap is something that is known to be missing.
type Gap struct {
	Cluster, Node string
	// Time is when the gap was noticed by the agent (a loss) or ends (a jump of the sequence), corrected by the clocks of the question.
	Time time.Time
	// Source and Reason are those of the Loss; a jump of the sequence has source "sequence".
	Source, Reason string
	Count          uint64
	// Workload that lost it, where known.
	Workload *spoorv1.Workload
}

// SourceSequence is the Gap.Source of events that an agent numbered and that never came.
const SourceSequence = "sequence"

// Stats describes a store.
type Stats struct {
	Events uint64
	// Bytes on disk.
	Bytes uint64
	// Used of them holds something; the rest is a log, or free to be used again.
	Used uint64
	// Oldest is the time of the oldest event, zero when there is none.
	Oldest time.Time
	// Forgotten has an entry for each reason for which events were forgotten, sorted by reason.
	Forgotten []Forgotten
}

// Forgotten tells of events that were stored and went.
type Forgotten struct {
	// Reason is ForgottenAge or ForgottenSize.
	Reason string
	// Events that went for this reason since the store was made.
	Events uint64
	// Before: events of the time before this are missing.
	Before time.Time
	// At is when the last of them went, by the collector's clock.
	At time.Time
}

// Reasons to forget: Forget and Shrink.
const (
	ForgottenAge  = "age"
	ForgottenSize = "size"
)

// SQLQuery is one statement of a person.
type SQLQuery struct {
	Statement string
	MaxRows   int
	Timeout   time.Duration
}

// MaxStatement is how long a statement may be, in bytes.
const MaxStatement = 64 << 10

// Check says what is wrong with the query before a store is asked; what the person can mend is a *QueryError.
func (q *SQLQuery) Check() error {
	switch {
	case strings.TrimSpace(q.Statement) == "":
		return &QueryError{Problem: "the statement is empty: write for example SELECT * FROM events LIMIT 10"}
	case len(q.Statement) > MaxStatement:
		return &QueryError{Problem: fmt.Sprintf("the statement has %d bytes, at most %d are allowed", len(q.Statement), MaxStatement), Limit: true}
	case strings.ContainsRune(q.Statement, 0):
		return &QueryError{Problem: "the statement has a NUL character"}
	case q.MaxRows <= 0 || q.Timeout <= 0:
		return errors.New("run SQL: SQLQuery.MaxRows and Timeout must be positive")
	}
	return nil
}

// SQLResult is the answer.
type SQLResult struct {
	Columns []string
	Rows    []*spoorv1.SQLRow
	More    bool
}

// ErrNotFound: what was asked for is not in the store.
var ErrNotFound = errors.New("not found")

// ErrNewerSchema: the store was written by a newer version that this one cannot read.
var ErrNewerSchema = errors.New("the store was written by a newer version of Spoor")

// ErrNotShrunk: the store takes more than the limit with nothing left to forget.
var ErrNotShrunk = errors.New("the store takes more than its limit, and only the newest events are left")

// A QueryError is the fault of who asked: a statement that is malformed, not allowed, or takes too long.
type QueryError struct {
	// Problem is a sentence for the person who asked.
	Problem string
	// Limit: the statement was fine but exceeded a limit.
	Limit bool
}

func (e *QueryError) Error() string { return e.Problem }
