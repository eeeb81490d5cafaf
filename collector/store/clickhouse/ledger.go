// SPDX-License-Identifier: Apache-2.0

package clickhouse

import (
	"context"
	"fmt"
	"time"
)

// Kinds of rows in the ledger, by what their key is.
//
//	begin: of a transaction. first, last: its event ids; label: whose; time; body: its batches. Written once.
//	outcome: of a transaction. label: committed or aborted. Written once.
//	aborted: of a transaction. The same, of those that were aborted, so that they are found.
//	last: no key. The newest transaction that committed: txn, last.
//	run: of a run. body: JSON of runState.
//	gap: of a run and a sequence. first, last: sequences that are missing; time.
//	name: of an event. body: who is at the other end of a flow, as an Endpoint; doc.
//	edge: of an edge. time: first seen. The earliest counts.
//	edge_hour: of an hour, an edge, a side and a session. label: the edge; time, until: first and last; numbers: sums.
//	finding: of a fingerprint. body: Finding; label: rule; first: state; doc.
//	outbox: of a receiver and a fingerprint. body: JSON of entry.
//	forgotten: of a reason. body: JSON of lost.
//	presence: of a node. time: when a collector last had a stream of its agent.
//	schema: its version.
//
// Of rows with one key the highest version counts.
type ledgerRow struct {
	kind, key   string
	version     uint64
	expires     time.Time // zero for never
	txn         uint64
	first, last uint64
	time, until int64
	label       string
	numbers     []int64
	body        []byte
	doc         string
}

const ledgerColumns = "kind, key, version, expires, txn, first, last, time, until, label, numbers, body, doc"

// ledgerRows are a block for the ledger.
type ledgerRows struct{ encoder }

func (e *ledgerRows) add(r ledgerRow) {
	e.text(r.kind)
	e.text(r.key)
	e.u64(r.version)
	if r.expires.IsZero() {
		e.u32(maxSeconds)
	} else {
		e.seconds(r.expires)
	}
	e.u64(r.txn)
	e.u64(r.first)
	e.u64(r.last)
	e.i64(r.time)
	e.i64(r.until)
	e.text(r.label)
	e.b = appendArray(e.b, r.numbers)
	e.bytes(r.body)
	e.text(r.doc)
	e.rows++
}

// maxBlock is how many rows go into the ledger at once: more would be split into blocks, and no longer be all or nothing.
const maxBlock = 1 << 20

// insertLedger inserts rows under a token: of several inserts with one token the first counts, whoever makes it. Which one that was must be
// read.
func (s *Store) insertLedger(ctx context.Context, token string, rows *ledgerRows) error {
	if rows.rows >= maxBlock {
		return fmt.Errorf("a transaction has %d rows besides its events, which is more than the %d that one insert takes: gather fewer batches", rows.rows, maxBlock)
	}
	with := s.inserting(token)
	with["max_insert_block_size"] = fmt.Sprint(maxBlock)
	_, err := s.client.do(ctx, "INSERT INTO "+s.ledger()+" ("+ledgerColumns+") FORMAT RowBinary", rows.b, with)
	return err
}

// inserting are the settings of every insert.
func (s *Store) inserting(token string) settings {
	with := settings{
		"insert_deduplication_token": token, "insert_deduplicate": "1", "async_insert": "0",
		// A view is filled by an insert that is repeated, where the first one did not get to it.
		"deduplicate_blocks_in_dependent_materialized_views": "1",
	}
	if s.layout.cluster != "" {
		with["insert_quorum"] = "auto"
		with["distributed_foreground_insert"] = "1"
	}
	return with
}

func (s *Store) ledger() string { return s.layout.table("ledger") }

// number is a key that sorts as the number does.
func number(n uint64) string { return fmt.Sprintf("%016x", n) }

const (
	committed = "committed"
	aborted   = "aborted"
)

// transaction is one row of begin, with what came of it.
type transaction struct {
	txn         uint64
	first, last uint64 // event ids; none when last < first
	owner       string
	begun       time.Time
	batches     []claim
	outcome     string // "" when it is under way
}

// tail returns the transactions from txn on, in order.
func (s *Store) tail(ctx context.Context, from uint64) ([]transaction, error) {
	// Not FINAL: rows with one key are the same row.
	d, err := s.client.query(ctx, `SELECT key, anyIf(first, kind = 'begin'), anyIf(last, kind = 'begin'), anyIf(label, kind = 'begin'),
		anyIf(time, kind = 'begin'), anyIf(body, kind = 'begin'), anyIf(label, kind = 'outcome'), toUInt8(countIf(kind = 'begin') > 0)
		FROM `+s.ledger()+` WHERE kind IN ('begin', 'outcome') AND key >= `+quote(number(from))+` GROUP BY key ORDER BY key`)
	if err != nil {
		return nil, err
	}
	var all []transaction
	for d.more() {
		t := transaction{}
		if _, err := fmt.Sscanf(d.text(), "%x", &t.txn); err != nil {
			return nil, fmt.Errorf("ledger: number of a transaction: %w", err)
		}
		t.first, t.last, t.owner = d.u64(), d.u64(), d.text()
		t.begun = time.Unix(0, d.i64())
		body := d.bytes()
		t.outcome = d.text()
		if !d.flag() {
			continue // its beginning has not come to this replica yet
		}
		if t.batches, err = decodeClaims(body); err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, d.err
}

// claim is a batch that a transaction has, if it commits.
type claim struct {
	run      string // runKey
	sequence uint64
}

func encodeClaims(claims []claim) []byte {
	var e encoder
	for _, c := range claims {
		e.text(c.run)
		e.u64(c.sequence)
	}
	return e.b
}

func decodeClaims(b []byte) ([]claim, error) {
	var claims []claim
	d := decoder{b: b}
	for d.more() {
		claims = append(claims, claim{d.text(), d.u64()})
	}
	return claims, d.err
}
