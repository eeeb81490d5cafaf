// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"io"
	"log/slog"
)

// LogFlags say how much a long-running command tells, and in which form.
type LogFlags struct {
	LogLevel  slog.Level `help:"Least level that is logged: debug, info, warn or error." default:"info"`
	LogFormat string     `help:"Form of the log on standard error: text or json." enum:"text,json" default:"text"`
}

// Logger returns a logger that writes to w.
func (f *LogFlags) Logger(w io.Writer) *slog.Logger { return NewLogger(w, f.LogLevel, f.LogFormat) }

// NewLogger returns a logger of the format text or json.
func NewLogger(w io.Writer, level slog.Level, format string) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
