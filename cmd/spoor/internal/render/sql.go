// SPDX-License-Identifier: Apache-2.0

package render

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// SQL writes the rows of an answer as a table.
func SQL(w io.Writer, s Style, r *spoorv1.RunSQLResponse) error {
	t := table{}
	for i, name := range r.GetColumns() {
		c := column{title: Printable(name), min: 12}
		if rows := r.GetRows(); len(rows) > 0 && i < len(rows[0].GetValues()) {
			switch rows[0].GetValues()[i].GetValue().(type) {
			case *spoorv1.SQLValue_Integer, *spoorv1.SQLValue_Real:
				c.right, c.min = true, 0
			}
		}
		t.columns = append(t.columns, c)
	}
	for _, row := range r.GetRows() {
		cells := make([]cell, len(t.columns))
		for i := range cells {
			if i < len(row.GetValues()) {
				cells[i] = sqlCell(row.GetValues()[i])
			}
		}
		t.add(cells...)
	}
	return t.write(w, s)
}

func sqlCell(v *spoorv1.SQLValue) cell {
	switch v := v.GetValue().(type) {
	case *spoorv1.SQLValue_Text:
		return text(Printable(v.Text))
	case *spoorv1.SQLValue_Integer:
		return text(strconv.FormatInt(v.Integer, 10))
	case *spoorv1.SQLValue_Real:
		return text(strconv.FormatFloat(v.Real, 'g', -1, 64))
	case *spoorv1.SQLValue_Blob:
		return text("x'" + hex.EncodeToString(v.Blob) + "'")
	default:
		return cell{"null", faint}
	}
}

// SQLJSON writes one object a row, with the columns as keys in the order of the answer. Integers are JSON
// numbers, blobs are base64, and a number that JSON cannot say (NaN, infinities) is a string.
func SQLJSON(w io.Writer, r *spoorv1.RunSQLResponse) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	// Encode ends every value with a line feed; here a value is only part of a line.
	encode := func(v any) error {
		if err := enc.Encode(v); err != nil {
			return fmt.Errorf("encode row: %w", err)
		}
		b.Truncate(b.Len() - 1)
		return nil
	}
	for _, row := range r.GetRows() {
		b.WriteByte('{')
		for i, name := range r.GetColumns() {
			if i > 0 {
				b.WriteByte(',')
			}
			var v *spoorv1.SQLValue
			if i < len(row.GetValues()) {
				v = row.GetValues()[i]
			}
			if err := encode(name); err != nil {
				return err
			}
			b.WriteByte(':')
			if err := encode(sqlJSONValue(v)); err != nil {
				return err
			}
		}
		b.WriteString("}\n")
	}
	_, err := w.Write(escapeJSON(b.Bytes()))
	return err
}

func sqlJSONValue(v *spoorv1.SQLValue) any {
	switch v := v.GetValue().(type) {
	case *spoorv1.SQLValue_Text:
		return v.Text
	case *spoorv1.SQLValue_Integer:
		return v.Integer
	case *spoorv1.SQLValue_Real:
		if math.IsNaN(v.Real) || math.IsInf(v.Real, 0) {
			return strconv.FormatFloat(v.Real, 'g', -1, 64)
		}
		return v.Real
	case *spoorv1.SQLValue_Blob:
		return v.Blob
	default:
		return nil
	}
}
