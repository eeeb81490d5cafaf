// SPDX-License-Identifier: Apache-2.0

package sqlite_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spoor/spoor/collector/store"
)

func TestSQLRefusesWhatIsNotReading(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	elsewhere := filepath.Join(dir, "elsewhere.db")
	for _, statement := range []string{
		"ATTACH '" + elsewhere + "' AS x",
		"ATTACH '/etc/passwd' AS x",
		"DETACH main",
		"VACUUM INTO '" + elsewhere + "'",
		"VACUUM",
		"INSERT INTO string VALUES (100, 'x')",
		"UPDATE meta SET value = 0",
		"DELETE FROM event",
		"REPLACE INTO meta VALUES ('x', 1)",
		"CREATE TABLE t (x)",
		"CREATE TEMP TABLE t (x)",
		"CREATE TEMP VIEW v AS SELECT 1",
		"CREATE VIRTUAL TABLE t USING fts5(x)",
		"CREATE TRIGGER t AFTER INSERT ON event BEGIN SELECT 1; END",
		"DROP TABLE event",
		"ALTER TABLE event RENAME TO x",
		"BEGIN", "COMMIT", "SAVEPOINT x", "ANALYZE", "REINDEX",
		"PRAGMA query_only=off",
		"PRAGMA journal_mode=delete",
		"PRAGMA writable_schema=on",
		"PRAGMA wal_checkpoint",
		"PRAGMA database_list", // says where the file is
		"SELECT load_extension('x')",
		"SELECT * FROM pragma_journal_mode",
		"WITH x AS (SELECT 1) DELETE FROM event",
		"EXPLAIN DELETE FROM event",
		"SELECT * FROM fts3_tokenizer('x')",
		"SELECT writefile('/tmp/x', 'x')", "SELECT readfile('/etc/passwd')",
		"SELECT * FROM dbstat, pragma_wal_checkpoint",
		"PRAGMA main.query_only=off", "PRAGMA temp_store_directory='/'", "PRAGMA trusted_schema=on", "PRAGMA hard_heap_limit=1",
		"ATTACH 'file:" + elsewhere + "?mode=rwc' AS x", "ATTACH ':memory:' AS x",
		"EXPLAIN ATTACH '" + elsewhere + "' AS x",
		"INSERT INTO events SELECT * FROM events", "UPDATE event SET time = 0 RETURNING id",
		"WITH RECURSIVE n(i) AS (SELECT 1) INSERT INTO meta SELECT 'x', i FROM n",
		"/* nothing */",
		"SELECT 1\x00; DROP TABLE event",
	} {
		_, err := s.SQL(t.Context(), store.SQLQuery{Statement: statement, MaxRows: 10, Timeout: time.Minute})
		if _, ok := errors.AsType[*store.QueryError](err); !ok {
			t.Errorf("%s: %v, want a QueryError", statement, err)
		}
	}
	if _, err := os.Stat(elsewhere); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a statement made a file: %v", err)
	}
	for _, statement := range []string{
		"SELECT 1;", "SELECT 1 -- why", "VALUES (1), (2)", "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT i FROM n",
		"EXPLAIN QUERY PLAN SELECT * FROM events", "PRAGMA table_info(event)", "SELECT name FROM pragma_table_info('event')",
		"SELECT value FROM json_each('[1,2]')", "SELECT name FROM sqlite_schema", "SELECT * FROM flows, file_writes, processes",
	} {
		if _, err := s.SQL(t.Context(), store.SQLQuery{Statement: statement, MaxRows: 10, Timeout: time.Minute}); err != nil {
			t.Errorf("%s: %v", statement, err)
		}
	}
}

func TestSQLLimits(t *testing.T) {
	s := open(t, t.TempDir())
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	for name, c := range map[string]struct{ statement, problem string }{
		"time":   {"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n", "took longer than 200ms"},
		"value":  {"SELECT hex(zeroblob(100000000))", "too big"},
		"text":   {"SELECT 1" + strings.Repeat(" ", 1<<16), "at most 65536"},
		"answer": {"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT zeroblob(10000000) FROM n", "larger than 64 MiB"},
	} {
		timeout := time.Minute
		if name == "time" {
			timeout = 200 * time.Millisecond
		}
		_, err := s.SQL(t.Context(), store.SQLQuery{Statement: c.statement, MaxRows: 1000000, Timeout: timeout})
		var q *store.QueryError
		if !errors.As(err, &q) || !strings.Contains(q.Problem, c.problem) {
			t.Errorf("%s: %v, want a QueryError with %q", name, err, c.problem)
		}
	}
	// A connection that was interrupted answers the next one.
	if _, err := s.SQL(t.Context(), store.SQLQuery{Statement: "SELECT 1", MaxRows: 1, Timeout: time.Minute}); err != nil {
		t.Error(err)
	}
}
