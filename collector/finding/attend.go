// SPDX-License-Identifier: Apache-2.0

package finding

import (
	"context"
	"fmt"
	"time"

	"github.com/spoor/spoor/contract"
)

// attendEvery is how often it is asked which agents are there.
const attendEvery = 15 * time.Second

// Attendance says whether a node's agent is there.
type Attendance struct {
	Cluster, Node string
	Connected     bool
	// Seen is when something was last heard of it.
	Seen time.Time
}

// attendant is a judge that wants to know.
type attendant interface {
	Attend(cluster, node string, silent bool, since time.Time) []contract.Verdict
}

// attend tells the judge which agents are silent. While the collector itself was away, nobody could be heard.
func (e *Engine) attend(ctx context.Context, now time.Time) error {
	judge, ok := e.judge.(attendant)
	if !ok || e.o.Agents == nil {
		return nil
	}
	if e.started.IsZero() {
		e.started = now
	}
	if now.Before(e.nextAttend) {
		return nil
	}
	e.nextAttend = now.Add(attendEvery)
	agents, err := e.o.Agents(ctx)
	if err != nil {
		return fmt.Errorf("ask which agents are there: %w", err)
	}
	for _, a := range agents {
		since := a.Seen
		if since.Before(e.started) {
			since = e.started
		}
		silent := !a.Connected && now.Sub(since) >= contract.SilentAfter
		if !silent && !a.Connected {
			continue // not known yet
		}
		if err := e.apply(ctx, judge.Attend(a.Cluster, a.Node, silent, a.Seen), now); err != nil {
			return err
		}
	}
	return nil
}
