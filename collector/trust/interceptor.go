// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"context"
	"fmt"
	"log/slog"
	"path"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// maxQuestion is how many bytes of a question are written down.
const maxQuestion = 2048

// Interceptor checks questions of people and writes down who asked what.
type Interceptor struct {
	// Audit gets one line for each question.
	Audit *slog.Logger
	// Finding returns a finding by what a request calls it; for its cluster.
	Finding func(ctx context.Context, id string) (*spoorv1.Finding, error)
}

var _ connect.Interceptor = (*Interceptor)(nil)

// WrapUnary implements connect.Interceptor.
func (i *Interceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (response connect.AnyResponse, err error) {
		begun := time.Now()
		asked := words(r.Any())
		defer func() { i.write(ctx, r.Spec(), r.Peer(), asked, begun, err) }()
		person := PersonOf(ctx)
		if person == nil {
			return next(ctx, r)
		}
		if err := i.restrict(ctx, person, r.Any()); err != nil {
			return nil, err
		}
		if response, err = next(ctx, r); err != nil {
			return nil, err
		}
		if err := person.withhold(response.Any()); err != nil {
			return nil, err
		}
		return response, nil
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (i *Interceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements connect.Interceptor.
func (i *Interceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) (err error) {
		begun := time.Now()
		c := &restricted{StreamingHandlerConn: conn, check: func(m any) error {
			if person := PersonOf(ctx); person != nil {
				return i.restrict(ctx, person, m)
			}
			return nil
		}}
		defer func() { i.write(ctx, conn.Spec(), conn.Peer(), c.asked, begun, err) }()
		return next(ctx, c)
	}
}

// restricted checks what it receives.
type restricted struct {
	connect.StreamingHandlerConn
	check func(any) error
	asked string
}

func (c *restricted) Receive(m any) error {
	if err := c.StreamingHandlerConn.Receive(m); err != nil {
		return err
	}
	if c.asked == "" {
		c.asked = words(m)
	}
	return c.check(m)
}

func words(m any) string {
	message, ok := m.(proto.Message)
	if !ok {
		return ""
	}
	b, err := protojson.Marshal(message)
	if err != nil {
		return "cannot be written: " + err.Error()
	}
	return string(b[:min(len(b), maxQuestion)])
}

func (i *Interceptor) write(ctx context.Context, spec connect.Spec, peer connect.Peer, asked string, begun time.Time, err error) {
	name, role := "anybody", ""
	if p := PersonOf(ctx); p != nil {
		name, role = p.Name, p.Role.String()
	}
	outcome := "ok"
	if err != nil {
		outcome = connect.CodeOf(err).String()
	}
	i.Audit.InfoContext(ctx, "question", "who", name, "role", role, "from", peer.Addr, "method", path.Base(spec.Procedure), "asked", asked,
		"outcome", outcome, "took", time.Since(begun))
}

func denied(format string, args ...any) error {
	return connect.NewError(connect.CodePermissionDenied, fmt.Errorf(format, args...))
}
