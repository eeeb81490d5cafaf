// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
	"zombiezen.com/go/sqlite"
)

// Limits of what one person's statement may take.
const (
	maxValueBytes  = 16 << 20
	maxResultBytes = 64 << 20
)

// prepareForPeople makes a connection that can read this database and do nothing else. The file is opened read-only
// as well; the authorizer is there so that the answer is a sentence and not a side effect that happens to fail, and
// because ATTACH could reach files that are not ours.
func prepareForPeople(c *sqlite.Conn) error {
	if err := pragmas(c, "query_only=on", "trusted_schema=off", "cache_size=-16384"); err != nil {
		return err
	}
	if err := c.SetDefensive(true); err != nil {
		return err
	}
	c.Limit(sqlite.LimitLength, maxValueBytes)
	c.Limit(sqlite.LimitSQLLength, store.MaxStatement)
	c.Limit(sqlite.LimitAttached, 0)
	c.Limit(sqlite.LimitExprDepth, 200)
	c.Limit(sqlite.LimitCompoundSelect, 50)
	return c.SetAuthorizer(sqlite.AuthorizeFunc(authorize))
}

// harmlessPragmas only describe the schema.
var harmlessPragmas = map[string]bool{
	"table_info": true, "table_xinfo": true, "table_list": true, "index_list": true, "index_info": true, "index_xinfo": true,
	"function_list": true, "collation_list": true, "compile_options": true,
}

func authorize(a sqlite.Action) sqlite.AuthResult {
	switch a.Type() {
	case sqlite.OpSelect, sqlite.OpRead, sqlite.OpRecursive:
		return sqlite.AuthResultOK
	case sqlite.OpFunction:
		return sqlite.AuthResultOK // nothing but SQLite's own functions is registered, and extensions cannot be loaded
	case sqlite.OpPragma:
		if harmlessPragmas[strings.ToLower(a.Pragma())] {
			return sqlite.AuthResultOK
		}
	}
	return sqlite.AuthResultDeny
}

// SQL implements store.Store.
func (s *Store) SQL(ctx context.Context, q store.SQLQuery) (*store.SQLResult, error) {
	if err := q.Check(); err != nil {
		return nil, err
	}
	timed, cancel := context.WithTimeout(ctx, q.Timeout)
	defer cancel()
	bounded, cut := context.WithCancelCause(timed)
	defer cut(nil)
	c, err := s.people.Take(bounded)
	if err != nil {
		if ctx.Err() == nil && timed.Err() != nil {
			return nil, &store.QueryError{Problem: fmt.Sprintf("other statements kept the store busy for %v: try again", q.Timeout), Limit: true}
		}
		return nil, fmt.Errorf("run SQL: %w", err)
	}
	defer s.people.Put(c)
	done := boundTemp(bounded, s.maxTemp, cut)
	res, err := runStatement(c, q)
	cut(nil)
	<-done
	if err == nil {
		return res, nil
	}
	var mine *store.QueryError
	switch code := sqlite.ErrCode(err); {
	case errors.As(err, &mine):
		return nil, mine
	case ctx.Err() != nil:
		return nil, fmt.Errorf("run SQL: %w", ctx.Err())
	case errors.Is(context.Cause(bounded), errTemp):
		return nil, &store.QueryError{Problem: fmt.Sprintf("the statement needs more than %d MiB of temporary files and was stopped: sort or group fewer rows, or shorter ones", s.maxTemp>>20), Limit: true}
	case timed.Err() != nil:
		return nil, &store.QueryError{Problem: fmt.Sprintf("the statement took longer than %v and was stopped: select fewer rows, for example by id or time_unix_nano, or add LIMIT", q.Timeout.Round(time.Millisecond)), Limit: true}
	case code.ToPrimary() == sqlite.ResultAuth, code.ToPrimary() == sqlite.ResultReadOnly:
		return nil, &store.QueryError{Problem: "not allowed: only SELECT is, and it changes nothing (" + err.Error() + ")"}
	case code.ToPrimary() == sqlite.ResultError, code.ToPrimary() == sqlite.ResultTooBig, code.ToPrimary() == sqlite.ResultMismatch, code.ToPrimary() == sqlite.ResultRange:
		return nil, &store.QueryError{Problem: err.Error()}
	}
	return nil, fmt.Errorf("run SQL: %w", err)
}

func runStatement(c *sqlite.Conn, q store.SQLQuery) (*store.SQLResult, error) {
	st, trailing, err := c.PrepareTransient(q.Statement)
	if err != nil {
		return nil, err
	}
	defer st.Finalize() // its error is that of the step before
	if st.ColumnCount() == 0 {
		return nil, &store.QueryError{Problem: "the statement returns nothing: only SELECT is allowed"}
	}
	if rest := strings.TrimSpace(q.Statement[len(q.Statement)-trailing:]); rest != "" {
		return nil, &store.QueryError{Problem: "more than one statement: run them one by one"}
	}
	if st.BindParamCount() > 0 {
		return nil, &store.QueryError{Problem: "the statement has parameters (?): write the values themselves"}
	}
	res := &store.SQLResult{}
	for i := range st.ColumnCount() {
		res.Columns = append(res.Columns, st.ColumnName(i))
	}
	size := 0
	for {
		found, err := st.Step()
		if err != nil {
			return nil, err
		}
		if !found {
			return res, nil
		}
		if len(res.Rows) == q.MaxRows {
			res.More = true
			return res, nil
		}
		row := &spoorv1.SQLRow{Values: make([]*spoorv1.SQLValue, len(res.Columns))}
		for i := range res.Columns {
			v := columnValue(st, i)
			size += 32 + len(v.GetText()) + len(v.GetBlob())
			row.Values[i] = v
		}
		if size > maxResultBytes {
			return nil, &store.QueryError{Problem: fmt.Sprintf("the answer is larger than %d MiB: select fewer rows or columns", maxResultBytes>>20), Limit: true}
		}
		res.Rows = append(res.Rows, row)
	}
}

func columnValue(st *sqlite.Stmt, col int) *spoorv1.SQLValue {
	switch st.ColumnType(col) {
	case sqlite.TypeInteger:
		return &spoorv1.SQLValue{Value: &spoorv1.SQLValue_Integer{Integer: st.ColumnInt64(col)}}
	case sqlite.TypeFloat:
		return &spoorv1.SQLValue{Value: &spoorv1.SQLValue_Real{Real: st.ColumnFloat(col)}}
	case sqlite.TypeText:
		// A cast can make text of any bytes; the wire carries UTF-8 only.
		return &spoorv1.SQLValue{Value: &spoorv1.SQLValue_Text{Text: strings.ToValidUTF8(st.ColumnText(col), "\uFFFD")}}
	case sqlite.TypeBlob:
		return &spoorv1.SQLValue{Value: &spoorv1.SQLValue_Blob{Blob: columnBytes(st, col)}}
	}
	return &spoorv1.SQLValue{Value: &spoorv1.SQLValue_Null{Null: true}}
}
