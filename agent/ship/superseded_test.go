// SPDX-License-Identifier: Apache-2.0

package ship

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"connectrpc.com/connect"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// taken is a collector at which another agent of the same node shows up as soon as one is welcome.
type taken struct{}

func (taken) Ship(_ context.Context, s *connect.BidiStream[spoorv1.ShipRequest, spoorv1.ShipResponse]) error {
	if _, err := s.Receive(); err != nil {
		return err
	}
	if err := s.Send(&spoorv1.ShipResponse{Message: &spoorv1.ShipResponse_Welcome{Welcome: &spoorv1.Welcome{}}}); err != nil {
		return err
	}
	return connect.NewError(connect.CodeAborted, errors.New("the same node has opened another stream"))
}

// messages hands over what is logged.
type messages chan string

func (messages) Enabled(context.Context, slog.Level) bool { return true }
func (m messages) WithAttrs([]slog.Attr) slog.Handler     { return m }
func (m messages) WithGroup(string) slog.Handler          { return m }
func (m messages) Handle(ctx context.Context, r slog.Record) error {
	select {
	case m <- r.Message:
	case <-ctx.Done():
	default:
	}
	return nil
}

// Two agents of one node take the stream from each other: that is said, and not that the collector is gone.
func TestASecondAgentOfTheNodeIsNamed(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	defer serve(t, l, taken{})()
	said := make(messages, 16)
	c := NewClient(Options{URL: "http://" + l.Addr().String(), Queue: memory(10), Hello: &spoorv1.Hello{Node: "n"}, Logger: slog.New(said)})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	got := <-said
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	const want = "another agent speaks for this node, and the collector keeps the newer stream only; stop one of them, or give it a name of its own"
	if got != want {
		t.Errorf("logged %q, want %q", got, want)
	}
}
