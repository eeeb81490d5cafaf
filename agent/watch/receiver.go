// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/api/spoor/v1/spoorv1connect"
)

// Receiver is what an agent ships to: it acknowledges all that it gets.
type Receiver struct {
	take   func(*spoorv1.Batch)
	at     net.Addr
	server *http.Server
	served chan error
}

// Receive starts one on a port of its own; take gets each batch, those of one agent one at a time.
func Receive(take func(*spoorv1.Batch)) (*Receiver, error) {
	r := &Receiver{take: take, served: make(chan error, 1)}
	mux := http.NewServeMux()
	mux.Handle(spoorv1connect.NewAgentServiceHandler(r))
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r.at = l.Addr()
	r.server = &http.Server{Handler: mux, Protocols: protocols, ReadHeaderTimeout: time.Minute}
	go func() { r.served <- r.server.Serve(l) }()
	return r, nil
}

// URL is where the agent finds it.
func (r *Receiver) URL() string { return "http://" + r.at.String() }

// Close ends it.
func (r *Receiver) Close() error {
	err := r.server.Close()
	if served := <-r.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// Ship implements spoorv1connect.AgentServiceHandler.
func (r *Receiver) Ship(_ context.Context, s *connect.BidiStream[spoorv1.ShipRequest, spoorv1.ShipResponse]) error {
	for {
		m, err := s.Receive()
		if err != nil {
			return err
		}
		answer := &spoorv1.ShipResponse{Message: &spoorv1.ShipResponse_Welcome{Welcome: &spoorv1.Welcome{}}}
		if b := m.GetBatch(); b != nil {
			r.take(b)
			answer.Message = &spoorv1.ShipResponse_Acknowledge{Acknowledge: &spoorv1.Acknowledge{Sequence: b.GetSequence()}}
		}
		if err := s.Send(answer); err != nil {
			return err
		}
	}
}
