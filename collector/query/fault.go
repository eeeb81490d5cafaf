// SPDX-License-Identifier: Apache-2.0

package query

import (
	"context"
	"errors"
	"fmt"

	"connectrpc.com/connect"

	"github.com/spoor/spoor/collector/store"
)

// invalid is the mistake of who asked: which field of the request, what is wrong with it, what to write instead.
func invalid(field, format string, args ...any) error {
	return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("%s: %w", field, fmt.Errorf(format, args...)))
}

func notFound(format string, args ...any) error {
	return connect.NewError(connect.CodeNotFound, fmt.Errorf(format, args...))
}

// explain gives an error its code. What is nobody's mistake but the collector's is logged here, and only here.
func (s *Service) explain(ctx context.Context, method string, err error) error {
	if _, ok := errors.AsType[*connect.Error](err); ok {
		return err
	}
	mistake, isMistake := errors.AsType[*store.QueryError](err)
	switch {
	case isMistake && mistake.Limit:
		return connect.NewError(connect.CodeResourceExhausted, mistake)
	case isMistake:
		return connect.NewError(connect.CodeInvalidArgument, mistake)
	case errors.Is(err, store.ErrNotFound):
		return connect.NewError(connect.CodeNotFound, err)
	}
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return connect.NewError(connect.CodeDeadlineExceeded, errors.New("the answer took longer than the client waits: ask for less, or wait longer"))
	case ctx.Err() != nil:
		return connect.NewError(connect.CodeCanceled, context.Canceled)
	}
	s.o.Logger.ErrorContext(ctx, "a question could not be answered", "method", method, "error", err)
	return connect.NewError(connect.CodeInternal, err)
}
