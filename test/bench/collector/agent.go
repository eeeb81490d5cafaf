// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"

	"google.golang.org/protobuf/proto"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/api/spoor/v1/spoorv1connect"
)

// agent is one stream to a collector over a connection of its own. It sends what was encoded before, so that it takes little
// of the processors.
type agent struct {
	transport *http.Transport
	body      *io.PipeWriter
	answer    *http.Response
}

// dial says hello and returns when the collector has answered.
func dial(ctx context.Context, url string, hello *spoorv1.Hello) (*agent, error) {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	a := &agent{transport: &http.Transport{Protocols: protocols}}
	body, w := io.Pipe()
	a.body = w
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+spoorv1connect.AgentServiceShipProcedure, body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/grpc")
	first, err := encode(&spoorv1.ShipRequest{Message: &spoorv1.ShipRequest_Hello{Hello: hello}})
	if err != nil {
		return nil, err
	}
	sent := make(chan error, 1)
	go func() { sent <- a.send(first) }()
	if a.answer, err = a.transport.RoundTrip(request); err != nil { //nolint:bodyclose // by close
		return nil, fmt.Errorf("reach the collector: %w", err)
	}
	if err := <-sent; err != nil {
		return nil, errors.Join(err, a.close())
	}
	if m, err := a.receive(); err != nil || m.GetWelcome() == nil {
		return nil, errors.Join(fmt.Errorf("no welcome: %v (%w)", m, err), a.close())
	}
	return a, nil
}

// encode makes the bytes of a message as gRPC has them on the wire.
func encode(m *spoorv1.ShipRequest) ([]byte, error) {
	b, err := proto.MarshalOptions{}.MarshalAppend(make([]byte, 5, 5+proto.Size(m)), m)
	if err != nil {
		return nil, err
	}
	binary.BigEndian.PutUint32(b[1:], uint32(len(b)-5)) //nolint:gosec // some megabytes at most
	return b, nil
}

func encodeBatch(b *spoorv1.Batch) ([]byte, error) {
	return encode(&spoorv1.ShipRequest{Message: &spoorv1.ShipRequest_Batch{Batch: b}})
}

func (a *agent) send(message []byte) error {
	_, err := a.body.Write(message)
	return err
}

// receive returns the next answer.
func (a *agent) receive() (*spoorv1.ShipResponse, error) {
	var head [5]byte
	if _, err := io.ReadFull(a.answer.Body, head[:]); err != nil {
		return nil, fmt.Errorf("the collector ended the stream (%s): %w", a.answer.Trailer.Get("Grpc-Message"), err)
	}
	b := make([]byte, binary.BigEndian.Uint32(head[1:]))
	if _, err := io.ReadFull(a.answer.Body, b); err != nil {
		return nil, err
	}
	m := &spoorv1.ShipResponse{}
	return m, proto.Unmarshal(b, m)
}

// await returns when a batch is acknowledged.
func (a *agent) await(sequence uint64) error {
	for {
		m, err := a.receive()
		if err != nil {
			return err
		}
		if m.GetAcknowledge().GetSequence() >= sequence {
			return nil
		}
	}
}

func (a *agent) close() error {
	err := errors.Join(a.body.Close(), a.answer.Body.Close())
	a.transport.CloseIdleConnections()
	return err
}
