// SPDX-License-Identifier: Apache-2.0

package finding

import (
	"context"
	"time"

	"github.com/spoor/spoor/contract"
)

// reloader is a judge that can go over to other contracts.
type reloader interface {
	Reload(s *contract.Set) []contract.Verdict
}

// Reload has the judge go over to other contracts without forgetting what it saw: what they allow is resolved, what they forbid shows with
// the next event. NewJudge has to make judges by the same contracts from now on.
func (e *Engine) Reload(ctx context.Context, s *contract.Set, now time.Time) error {
	judge, ok := e.judge.(reloader)
	if !ok {
		return nil
	}
	return e.apply(ctx, judge.Reload(s), now)
}
