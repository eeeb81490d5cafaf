// SPDX-License-Identifier: Apache-2.0

package clickhouse

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
)

// Limits of what one person's statement may take.
const (
	maxResultBytes  = 64 << 20
	maxStatementRAM = 2 << 30
)

// SQL implements store.Store. The statement becomes a part of another one, so that it is one, and a SELECT; the server is told that it must change
// nothing, and what it may take.
func (s *Store) SQL(ctx context.Context, q store.SQLQuery) (*store.SQLResult, error) {
	if err := q.Check(); err != nil {
		return nil, err
	}
	timed, cancel := context.WithTimeout(ctx, q.Timeout+5*time.Second)
	defer cancel()
	answer, err := s.client.do(timed, fmt.Sprintf("SELECT * FROM (\n%s\n) LIMIT %d", strings.TrimRight(q.Statement, "; \t\r\n"), q.MaxRows+1), nil, settings{
		"readonly": "1", "max_execution_time": strconv.FormatFloat(q.Timeout.Seconds(), 'f', 3, 64), "timeout_before_checking_execution_speed": "0",
		"max_memory_usage": strconv.Itoa(maxStatementRAM), "max_result_bytes": strconv.Itoa(maxResultBytes),
		"default_format": "JSONCompactEachRowWithNamesAndTypes", "output_format_json_quote_64bit_integers": "0",
		// The order that the statement asks for is to stay.
		"query_plan_remove_redundant_sorting": "0", "optimize_duplicate_order_by_and_distinct": "0",
	})
	var server *serverError
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("run SQL: %w", ctx.Err())
	case timed.Err() != nil, errors.As(err, &server) && server.code == codeTimeout:
		return nil, &store.QueryError{Problem: fmt.Sprintf("the statement took longer than %v and was stopped: select fewer rows, for example by id or time_unix_nano, or add LIMIT", q.Timeout.Round(time.Millisecond)), Limit: true}
	case errors.As(err, &server) && server.code == codeReadonly:
		return nil, &store.QueryError{Problem: "not allowed: only SELECT is, and it changes nothing (" + server.message + ")"}
	case errors.As(err, &server) && server.code != 0:
		return nil, &store.QueryError{Problem: server.message, Limit: server.code == codeMemory || server.code == codeTooManyRows || server.code == codeTooManyBytes}
	case err != nil:
		return nil, fmt.Errorf("run SQL: %w", err)
	}
	result, err := readRows(answer, q.MaxRows)
	if err != nil {
		return nil, fmt.Errorf("run SQL: %w", err)
	}
	return result, nil
}

const codeTooManyBytes = 396 // TOO_MANY_ROWS_OR_BYTES

// readRows reads lines of JSON: names, types, and then rows.
func readRows(answer []byte, most int) (*store.SQLResult, error) {
	d := json.NewDecoder(bytes.NewReader(answer))
	d.UseNumber()
	result := &store.SQLResult{}
	var types []string
	if err := d.Decode(&result.Columns); err != nil {
		return nil, err
	}
	if err := d.Decode(&types); err != nil {
		return nil, err
	}
	for d.More() {
		if len(result.Rows) == most {
			result.More = true
			break
		}
		var values []json.RawMessage
		if err := d.Decode(&values); err != nil {
			return nil, err
		}
		row := &spoorv1.SQLRow{}
		for i, v := range values {
			row.Values = append(row.Values, value(types[min(i, len(types)-1)], v))
		}
		result.Rows = append(result.Rows, row)
	}
	return result, nil
}

// value is a value of a type of ClickHouse: a number where it is one that fits, a text otherwise.
func value(kind string, raw json.RawMessage) *spoorv1.SQLValue {
	if bytes.Equal(raw, []byte("null")) {
		return &spoorv1.SQLValue{Value: &spoorv1.SQLValue_Null{Null: true}}
	}
	kind = strings.TrimSuffix(strings.TrimPrefix(kind, "Nullable("), ")")
	switch {
	case strings.HasPrefix(kind, "Int"), strings.HasPrefix(kind, "UInt"):
		if n, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
			return &spoorv1.SQLValue{Value: &spoorv1.SQLValue_Integer{Integer: n}}
		}
	case strings.HasPrefix(kind, "Float"):
		if n, err := strconv.ParseFloat(string(raw), 64); err == nil {
			return &spoorv1.SQLValue{Value: &spoorv1.SQLValue_Real{Real: n}}
		}
	case kind == "Bool":
		n := int64(0)
		if string(raw) == "true" {
			n = 1
		}
		return &spoorv1.SQLValue{Value: &spoorv1.SQLValue_Integer{Integer: n}}
	}
	text := ""
	if err := json.Unmarshal(raw, &text); err != nil {
		text = string(raw) // an array, a tuple, or a number that fits nowhere
	}
	return &spoorv1.SQLValue{Value: &spoorv1.SQLValue_Text{Text: strings.ToValidUTF8(text, "\uFFFD")}}
}
