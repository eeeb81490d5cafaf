// SPDX-License-Identifier: Apache-2.0

package forward

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// mark is the last event of which everything before has been forwarded. It says what that event is, so that a store that was
// replaced by a backup, where the same id may come to be another event, is noticed.
type mark struct {
	ID       uint64 `json:"id"`
	Node     string `json:"node"`
	Epoch    string `json:"epoch"`
	Sequence uint64 `json:"sequence"`
}

func markOf(ev *spoorv1.Event) mark {
	return mark{ev.GetId(), ev.GetNode(), ev.GetEpoch(), ev.GetSequence()}
}

// save replaces the file. It need not outlive a loss of power: without it, more is read again.
func (m mark) save(file string) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// loadMark reads the file. What cannot be read is no mark.
func loadMark(file string) (m mark, err error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return mark{}, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	if err != nil {
		return mark{}, fmt.Errorf("%s: %w", file, err)
	}
	return m, nil
}

// resume goes on behind the mark, if the store still has that event, and begins with the oldest event otherwise: what the other
// side has of that, it says itself.
func (f *Forwarder) resume(ctx context.Context) error {
	m, err := loadMark(f.o.MarkFile)
	if err != nil {
		f.o.Logger.Error("how far events have been forwarded cannot be read: everything is looked at again", "error", err)
	}
	if m.ID == 0 {
		return nil
	}
	found, err := f.o.Source.EventsByID(ctx, []uint64{m.ID})
	if err != nil {
		return err
	}
	if len(found) == 1 && markOf(found[0]) == m {
		f.at = m
	}
	return nil
}
