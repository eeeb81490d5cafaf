// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/klauspost/compress/zstd"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/cmd/internal/cli"
	"github.com/spoor/spoor/contract"
)

// checkpoint is how far a back-test has come. Its file has it in a line of JSON, and then what the back-test knows, compressed.
type checkpoint struct {
	Version int `json:"version"`
	// Of everything that the answer depends on: another command does not go on with this one's work.
	Of string `json:"of"`
	// What --since and --until meant when it began, in RFC 3339.
	Since string `json:"since"`
	Until string `json:"until"`
	// The ids of the first event and of the last one that was judged.
	First    uint64 `json:"first"`
	Position uint64 `json:"position"`
	// How many events were judged.
	Events uint64 `json:"events"`

	path  string
	state []byte
	// When it is to be saved again.
	due time.Time
}

const (
	checkpointVersion = 2
	// saveEvery is how much work may be lost at least, and saveShare the part of the time that saving may take.
	saveEvery = 5 * time.Second
	saveShare = 20
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
		if err := p.read(data); err != nil || p.Version != checkpointVersion {
			return nil, cli.BadInput(fmt.Errorf("--resume: %s is not what a back-test of this version left", c.Resume), "Remove it, or name another file.")
		}
		if p.Of != of {
			return nil, cli.BadInput(fmt.Errorf("--resume: %s was left by a back-test of other contracts, another time or another collector", c.Resume),
				"Remove it to begin again, or name another file.")
		}
	}
	p.path, p.due = c.Resume, time.Now().Add(saveEvery)
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

// read takes a file apart.
func (p *checkpoint) read(data []byte) error {
	head, rest, _ := bytes.Cut(data, []byte("\n"))
	if err := json.Unmarshal(head, p); err != nil {
		return err
	}
	r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return err
	}
	defer r.Close()
	p.state, err = r.DecodeAll(rest, nil)
	return err
}

// passed notes that events were judged, and saves that now and then.
func (p *checkpoint) passed(evs []*spoorv1.Event, trial *contract.Backtest) error {
	if p.First == 0 {
		p.First = evs[0].GetId()
	}
	p.Position, p.Events = evs[len(evs)-1].GetId(), p.Events+uint64(len(evs))
	begun := time.Now()
	if begun.Before(p.due) {
		return nil
	}
	err := p.save(trial)
	p.due = time.Now().Add(max(saveEvery, saveShare*time.Since(begun)))
	return err
}

// save replaces the file as a whole.
func (p *checkpoint) save(trial *contract.Backtest) error {
	state, err := trial.State()
	if err != nil {
		return fmt.Errorf("--resume: %w", err)
	}
	data, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("--resume: %w", err)
	}
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return fmt.Errorf("--resume: %w", err)
	}
	data = w.EncodeAll(state, append(data, '\n'))
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
