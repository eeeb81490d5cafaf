// SPDX-License-Identifier: Apache-2.0

package scene

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/api/spoor/v1/spoorv1connect"
)

// Ship sends batches as one run of an agent and returns when the collector has acknowledged all of them.
func Ship(ctx context.Context, url string, hello *spoorv1.Hello, batches ...*spoorv1.Batch) (err error) {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	defer transport.CloseIdleConnections()
	stream := spoorv1connect.NewAgentServiceClient(&http.Client{Transport: transport}, url).Ship(ctx)
	defer func() { err = errors.Join(err, stream.CloseRequest(), stream.CloseResponse()) }()

	if err := stream.Send(&spoorv1.ShipRequest{Message: &spoorv1.ShipRequest_Hello{Hello: hello}}); err != nil {
		return fmt.Errorf("send hello: %w", err)
	}
	if _, err := stream.Receive(); err != nil {
		return fmt.Errorf("receive welcome: %w", err)
	}
	last := uint64(0)
	for _, b := range batches {
		if err := stream.Send(&spoorv1.ShipRequest{Message: &spoorv1.ShipRequest_Batch{Batch: b}}); err != nil {
			return fmt.Errorf("send batch %d: %w", b.GetSequence(), err)
		}
		last = b.GetSequence()
	}
	for acknowledged := uint64(0); acknowledged < last; {
		answer, err := stream.Receive()
		if err != nil {
			return fmt.Errorf("receive acknowledgement: %w", err)
		}
		acknowledged = answer.GetAcknowledge().GetSequence()
	}
	return nil
}
