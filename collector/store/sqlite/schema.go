// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"embed"
	"fmt"
	"log/slog"
	"path"
	"sort"
	"strconv"
	"strings"

	"github.com/spoor/spoor/collector/store"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

//go:embed views.sql
var views string

type migration struct {
	version int
	name    string
	script  string
}

// migrations returns the steps in the order of their numbers, which must be 1, 2, 3, ...
func migrations() ([]migration, error) {
	entries, err := migrationFiles.ReadDir("migrations")
	if err != nil {
		return nil, err
	}
	var all []migration
	for _, e := range entries {
		number, _, ok := strings.Cut(e.Name(), "-")
		version, err := strconv.Atoi(number)
		if !ok || err != nil {
			return nil, fmt.Errorf("migration %s: the name must begin with a number and a dash", e.Name())
		}
		script, err := migrationFiles.ReadFile(path.Join("migrations", e.Name()))
		if err != nil {
			return nil, err
		}
		all = append(all, migration{version, e.Name(), string(script)})
	}
	sort.Slice(all, func(i, j int) bool { return all[i].version < all[j].version })
	for i, m := range all {
		if m.version != i+1 {
			return nil, fmt.Errorf("migration %s: expected number %d", m.name, i+1)
		}
	}
	return all, nil
}

// checkOurs refuses a database of another program before anything in it is changed.
func checkOurs(c *sqlite.Conn) error {
	app, err := sqlitex.ResultInt64(c.Prep("PRAGMA application_id"))
	if err != nil {
		return err
	}
	tables, err := sqlitex.ResultInt64(c.Prep("SELECT count(*) FROM sqlite_schema"))
	if err != nil {
		return err
	}
	if app != applicationID && tables > 0 {
		return fmt.Errorf("%w: the file is a database of something else (application id %#x): move it away or choose another data directory", ErrNotAStore, app)
	}
	return nil
}

// migrate brings the database to the newest schema in one transaction and renews the views.
func migrate(c *sqlite.Conn, log *slog.Logger) (err error) {
	all, err := migrations()
	if err != nil {
		return err
	}
	end, err := sqlitex.ImmediateTransaction(c)
	if err != nil {
		return err
	}
	defer end(&err)
	if err := sqlitex.ExecuteTransient(c, fmt.Sprintf("PRAGMA application_id = %d", applicationID), nil); err != nil {
		return err
	}
	if err := sqlitex.ExecuteTransient(c, "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY, applied TEXT NOT NULL)", nil); err != nil {
		return err
	}
	have, err := sqlitex.ResultInt(c.Prep("SELECT coalesce(max(version), 0) FROM schema_version"))
	if err != nil {
		return err
	}
	newest := all[len(all)-1].version
	if have > newest {
		return fmt.Errorf("%w: its schema is %d, this version knows up to %d: run the newer version, or choose another data directory", store.ErrNewerSchema, have, newest)
	}
	for _, m := range all[have:] {
		if err := sqlitex.ExecuteScript(c, m.script, nil); err != nil {
			return fmt.Errorf("migration %s: %w", m.name, err)
		}
		if err := sqlitex.Execute(c, "INSERT INTO schema_version VALUES (?, strftime('%Y-%m-%dT%H:%M:%SZ'))", &sqlitex.ExecOptions{Args: []any{m.version}}); err != nil {
			return fmt.Errorf("migration %s: %w", m.name, err)
		}
		log.Info("store schema migrated", "migration", m.name)
	}
	return renewViews(c)
}

// renewViews replaces all views: they hold no data, so their text belongs to the program and not to the file.
func renewViews(c *sqlite.Conn) error {
	var old []string
	err := sqlitex.ExecuteTransient(c, "SELECT name FROM sqlite_schema WHERE type = 'view'", &sqlitex.ExecOptions{
		ResultFunc: func(st *sqlite.Stmt) error {
			old = append(old, st.ColumnText(0))
			return nil
		},
	})
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := sqlitex.ExecuteTransient(c, `DROP VIEW "`+strings.ReplaceAll(name, `"`, `""`)+`"`, nil); err != nil {
			return err
		}
	}
	if err := sqlitex.ExecuteScript(c, views, nil); err != nil {
		return fmt.Errorf("views: %w", err)
	}
	return nil
}
