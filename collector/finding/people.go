// SPDX-License-Identifier: Apache-2.0

package finding

import (
	"context"
	"fmt"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// A TransitionError says that a finding cannot go into a state from the one that it is in.
type TransitionError struct {
	ID       string
	From, To spoorv1.FindingState
}

func (e *TransitionError) Error() string {
	return fmt.Sprintf("finding %s is %s and cannot become %s: only an open finding is acknowledged", e.ID, stateName(e.From), stateName(e.To))
}

func stateName(s spoorv1.FindingState) string {
	switch s {
	case spoorv1.FindingState_FINDING_STATE_OPEN:
		return "open"
	case spoorv1.FindingState_FINDING_STATE_ACKNOWLEDGED:
		return "acknowledged"
	case spoorv1.FindingState_FINDING_STATE_RESOLVED:
		return "resolved"
	case spoorv1.FindingState_FINDING_STATE_EXPIRED:
		return "expired"
	}
	return s.String()
}

// Update is a person's word on a finding that exists: acknowledged or resolved. Saying it again replaces the note.
func (e *Engine) Update(ctx context.Context, fingerprint string, state spoorv1.FindingState, note string, now time.Time) (*spoorv1.Finding, error) {
	f, err := e.find(ctx, fingerprint)
	if err != nil {
		return nil, err
	}
	if f.GetState() == spoorv1.FindingState_FINDING_STATE_UNSPECIFIED {
		return nil, fmt.Errorf("finding %s: %w", fingerprint, store.ErrNotFound)
	}
	if state == spoorv1.FindingState_FINDING_STATE_ACKNOWLEDGED && !isOpen(f) {
		return nil, &TransitionError{f.GetId(), f.GetState(), state}
	}
	if f.GetState() != state {
		e.metrics.changes.WithLabelValues(stateName(state)).Inc()
		f.StateChanged = timestamppb.New(now)
	}
	f.State, f.Note = state, note
	e.change(f, true)
	return proto.CloneOf(f), nil
}
