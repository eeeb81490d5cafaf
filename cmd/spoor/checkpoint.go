// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/cmd/internal/cli"
	"github.com/spoor/spoor/contract"
)

// checkpoint is how far a back-test has come, as its file has it.
type checkpoint struct {
	Version int `json:"version"`
	// Of everything that the answer depends on: another command does not go on with this one's work.
	Of string `json:"of"`
	// What --since and --until meant when it began, in RFC 3339.
	Since string `json:"since"`
	Until string `json:"until"`
	// The ids of the first event, of the one after which judges have to be reminded, and of the last event that was judged.
	First    uint64 `json:"first"`
	Remind   uint64 `json:"remind"`
	Position uint64 `json:"position"`
	// How many events were judged.
	Events uint64          `json:"events"`
	State  json.RawMessage `json:"state"`

	path  string
	saved time.Time
	// Where pages ended, to know where to begin to remind from.
	marks []mark
}

type mark struct {
	id uint64
	at time.Time
}

const (
	checkpointVersion = 1
	// saveEvery is how much work may be lost.
	saveEvery = 5 * time.Second
)

// openCheckpoint reads what an earlier run of the same command left, if any did, and makes the command's times those of that run.
func openCheckpoint(c *contractBacktestCommand, current, proposed *contract.Set) (*checkpoint, error) {
	of, err := c.digest(current, proposed)
	if err != nil {
		return nil, err
	}
	p := &checkpoint{}
	data, err := os.ReadFile(c.Resume)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p = &checkpoint{Version: checkpointVersion, Of: of}
		during := &spoorv1.EventFilter{}
		if err := c.limit(during, time.Now()); err != nil {
			return nil, err
		}
		if during.From != nil {
			p.Since = during.GetFrom().AsTime().Format(time.RFC3339Nano)
		}
		if during.To != nil {
			p.Until = during.GetTo().AsTime().Format(time.RFC3339Nano)
		}
	case err != nil:
		return nil, cli.BadInput(fmt.Errorf("--resume: %w", err), "")
	default:
		if err := json.Unmarshal(data, p); err != nil || p.Version != checkpointVersion {
			return nil, cli.BadInput(fmt.Errorf("--resume: %s is not what a back-test of this version left", c.Resume), "Remove it, or name another file.")
		}
		if p.Of != of {
			return nil, cli.BadInput(fmt.Errorf("--resume: %s was left by a back-test of other contracts, another time or another collector", c.Resume),
				"Remove it to begin again, or name another file.")
		}
	}
	p.path, p.saved = c.Resume, time.Now()
	c.Since, c.Until = p.Since, p.Until
	return p, nil
}

// digest is of everything that the answer depends on.
func (c *contractBacktestCommand) digest(sets ...*contract.Set) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q\n", c.Collector, c.Since, c.Until)
	for _, set := range sets {
		fmt.Fprintf(h, "%d contracts\n", set.Len())
		for _, agreed := range set.Contracts() {
			text, err := contract.Marshal(agreed)
			if err != nil {
				return "", fmt.Errorf("--resume: %w", err)
			}
			fmt.Fprintf(h, "%d\n%s", len(text), text)
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// part parts events that were judged before from those that were not.
func (p *checkpoint) part(evs []*spoorv1.Event) (known, news []*spoorv1.Event) {
	i := 0
	for i < len(evs) && evs[i].GetId() <= p.Position {
		i++
	}
	return evs[:i], evs[i:]
}

// passed notes that events were judged, and saves that now and then.
func (p *checkpoint) passed(evs []*spoorv1.Event, trial *contract.Backtest, now time.Time) error {
	if p.First == 0 {
		p.First = evs[0].GetId()
	}
	last := evs[len(evs)-1]
	p.Position, p.Events = last.GetId(), p.Events+uint64(len(evs))
	at := last.GetTime().AsTime()
	p.marks = append(p.marks, mark{p.Position, at})
	for len(p.marks) > 0 && at.Sub(p.marks[0].at) > contract.BacktestMemory {
		p.Remind = p.marks[0].id
		p.marks = p.marks[1:]
	}
	if now.Sub(p.saved) < saveEvery {
		return nil
	}
	p.saved = now
	return p.save(trial)
}

// save replaces the file as a whole.
func (p *checkpoint) save(trial *contract.Backtest) error {
	var err error
	if p.State, err = trial.State(); err != nil {
		return fmt.Errorf("--resume: %w", err)
	}
	data, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("--resume: %w", err)
	}
	unfinished := p.path + ".part"
	if err := os.WriteFile(unfinished, data, 0o600); err != nil {
		return cli.BadInput(fmt.Errorf("--resume: %w", err), "")
	}
	if err := os.Rename(unfinished, p.path); err != nil {
		return fmt.Errorf("--resume: %w", err)
	}
	return nil
}

// remove forgets a run that is over.
func (p *checkpoint) remove() error {
	if err := os.Remove(p.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("--resume: %w", err)
	}
	return nil
}
