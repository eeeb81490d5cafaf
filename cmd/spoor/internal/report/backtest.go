// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/cmd/spoor/internal/render"
	"github.com/spoor/spoor/contract"
)

// Backtest writes the result as one object on one line; findings are as the query service writes them.
func Backtest(w io.Writer, r *contract.BacktestResult, onlyCurrent, onlyProposed []*spoorv1.Finding) error {
	current, err := encode(onlyCurrent)
	if err != nil {
		return err
	}
	proposed, err := encode(onlyProposed)
	if err != nil {
		return err
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	if err := e.Encode(struct {
		*contract.BacktestResult
		From         time.Time         `json:"from"`
		To           time.Time         `json:"to"`
		OnlyCurrent  []json.RawMessage `json:"only_current"`
		OnlyProposed []json.RawMessage `json:"only_proposed"`
	}{r, r.From, r.To, current, proposed}); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

func encode(findings []*spoorv1.Finding) ([]json.RawMessage, error) {
	all := make([]json.RawMessage, len(findings))
	for i, f := range findings {
		var line bytes.Buffer
		if err := render.JSON(&line, f); err != nil {
			return nil, err
		}
		all[i] = line.Bytes()
	}
	return all, nil
}
