// SPDX-License-Identifier: Apache-2.0

package ingest_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/api/spoor/v1/spoorv1connect"
	"github.com/spoor/spoor/collector/ingest"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"
)

const endedStreams = "spoor_collector_ingest_ended_streams_total"

func TestNoHelloInTime(t *testing.T) {
	c := newCentre(t, func(o *ingest.ServiceOptions) { o.HelloTimeout = 50 * time.Millisecond })
	a := c.dial()
	a.try(nil) // sends the headers only
	if code, problem := a.ended(); code != connect.CodeInvalidArgument || !strings.Contains(problem, "no hello within") {
		t.Errorf("ended with %v %s", code, problem)
	}
	c.until(endedStreams, "no_hello", 1)
	if n := c.counter("spoor_collector_ingest_refused_total", "protocol"); n != 1 {
		t.Errorf("%v refused, want 1", n)
	}
}

// TestManyStreamsWithoutAHello: they push each other out, and no agent.
func TestManyStreamsWithoutAHello(t *testing.T) {
	const streams = 1100 // 1024 may wait
	c := newCentre(t, func(o *ingest.ServiceOptions) { o.HelloTimeout = time.Hour })
	connected := c.dial()
	connected.greet(hello("before", "e"))
	for range streams {
		c.dial().try(nil)
	}
	c.until(endedStreams, "pushed_out", streams-1024)
	late := c.dial()
	late.greet(hello("late", "e"))
	late.send(batch(1, 1, 1))
	late.acknowledged(1)
	connected.send(batch(1, 1, 1))
	connected.acknowledged(1)
	c.until(endedStreams, "pushed_out", streams-1023)
}

// TestAgentThatDoesNotRead: its stream ends, and what it has sent is stored.
func TestAgentThatDoesNotRead(t *testing.T) {
	c := newCentre(t, func(o *ingest.ServiceOptions) { o.SendTimeout = 200 * time.Millisecond })
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(c.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	var out, head, body bytes.Buffer
	out.WriteString(http2.ClientPreface)
	f := http2.NewFramer(&out, nil)
	// Room for the welcome, and not for the acknowledgement behind it.
	errs := []error{f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 8})}
	h := hpack.NewEncoder(&head)
	for _, field := range [][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", spoorv1connect.AgentServiceShipProcedure}, {":authority", "localhost"}, {"content-type", "application/grpc"},
	} {
		errs = append(errs, h.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}))
	}
	for _, m := range []*spoorv1.ShipRequest{
		{Message: &spoorv1.ShipRequest_Hello{Hello: hello("n", "e")}},
		{Message: &spoorv1.ShipRequest_Batch{Batch: batch(1, 1, 10)}},
		{Message: &spoorv1.ShipRequest_Batch{Batch: batch(2, 11, 10)}},
	} {
		encoded, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		body.Write(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(encoded))))
		body.Write(encoded)
	}
	errs = append(errs, f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head.Bytes(), EndHeaders: true}), f.WriteData(1, false, body.Bytes()))
	if _, err := conn.Write(out.Bytes()); errors.Join(append(errs, err)...) != nil {
		t.Fatal(errors.Join(append(errs, err)...))
	}
	c.until(endedStreams, "unread", 1)
	if c.service.ConnectedNode("c", "n") {
		t.Error("the node is connected still")
	}
	if n := len(c.events()); n != 20 {
		t.Errorf("%d events, want 20", n)
	}
}

// TestAdmit: who may not even begin holds nothing.
func TestAdmit(t *testing.T) {
	c := newCentre(t, func(o *ingest.ServiceOptions) {
		o.Admit = func(context.Context) error {
			return connect.NewError(connect.CodeUnauthenticated, errors.New("no certificate"))
		}
	})
	a := c.dial()
	a.try(nil)
	if code, problem := a.ended(); code != connect.CodeUnauthenticated || !strings.Contains(problem, "no certificate") {
		t.Errorf("ended with %v %s", code, problem)
	}
	c.until(endedStreams, "refused", 1)
}
