// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/spoor/spoor/collector/store"
)

// A statement that sorts without end is stopped before it fills the disk, and the next one is answered.
func TestTemporaryFilesAreBounded(t *testing.T) {
	s := empty(t)
	s.maxTemp = 1 << 20
	const endless = "WITH RECURSIVE n(i, b) AS (SELECT 1, zeroblob(100000) UNION ALL SELECT i + 1, zeroblob(100000) FROM n) SELECT i FROM n ORDER BY b, i DESC"
	_, err := s.SQL(t.Context(), store.SQLQuery{Statement: endless, MaxRows: 10, Timeout: 5 * time.Minute})
	q, ok := errors.AsType[*store.QueryError](err)
	if !ok || !q.Limit || !strings.Contains(q.Problem, "more than 1 MiB of temporary files") {
		t.Errorf("%v, want a QueryError about temporary files", err)
	}
	res, err := s.SQL(t.Context(), store.SQLQuery{Statement: "SELECT 1", MaxRows: 1, Timeout: time.Minute})
	if err != nil || len(res.Rows) != 1 {
		t.Errorf("the next statement: %v (%v)", res, err)
	}
	if n := tempBytes(); n > 16<<20 {
		t.Errorf("%d bytes are left in temporary files", n)
	}
}
