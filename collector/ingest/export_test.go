// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"errors"

	"github.com/spoor/spoor/collector/store"
)

// CommitForTest submits batches as streams do, all before the first is waited for.
func (c *Committer) CommitForTest(batches ...*store.Batch) error {
	var all []*submission
	for _, b := range batches {
		s := &submission{batch: b}
		c.submit(s)
		all = append(all, s)
	}
	var errs []error
	for _, s := range all {
		errs = append(errs, c.await(s))
	}
	return errors.Join(errs...)
}
