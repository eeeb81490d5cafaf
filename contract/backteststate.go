// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"

	"github.com/spoor/spoor/contract/snapshot"
)

// waiting are the things that a Judge's schedule may hold.
func waiting() []any { return []any{(*file)(nil), (*heldFlow)(nil), (*matter)(nil), (*survey)(nil)} }

// State is everything that a Backtest has found and what its judges remember, for Resume of another one of the same contracts in this
// version of the program.
func (b *Backtest) State() ([]byte, error) {
	state, err := snapshot.Marshal(b, waiting()...)
	if err != nil {
		return nil, fmt.Errorf("keep a back-test: %w", err)
	}
	return state, nil
}

// Resume makes a Backtest to which nothing was shown yet what another one of the same contracts was at its State.
func (b *Backtest) Resume(state []byte) error {
	if err := snapshot.Unmarshal(state, b, waiting()...); err != nil {
		return fmt.Errorf("go on with a back-test: %w", err)
	}
	for i := range b.sides {
		b.sides[i].judge.revive()
	}
	return nil
}

// revive gives what was read back the parts that were not written down.
func (j *Judge) revive() {
	for _, w := range j.workloads.all() {
		w.policy, w.unsure = j.apply(w)
	}
	for in := range j.instances.all() {
		in.files.forget = j.giveUpFile
	}
}
