// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"github.com/spoor/spoor/agent/workload/cri/wire"
)

const (
	// Where the service lies, whatever the host is called: the connection goes to a socket.
	service = "http://cri/runtime.v1.RuntimeService/"
	// A list of a thousand containers with large annotations.
	maxAnswer = 64 << 20
	// How long one question may take.
	patience = 10 * time.Second
)

// client asks one runtime. The agent speaks gRPC to its collector already; the same library does it here.
type client struct {
	http       *http.Client
	containers *connect.Client[wire.ListContainersRequest, wire.ListContainersResponse]
	sandboxes  *connect.Client[wire.ListPodSandboxRequest, wire.ListPodSandboxResponse]
	events     *connect.Client[wire.GetEventsRequest, wire.ContainerEventResponse]
}

func newClient(socket string) *client {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{
		Protocols: protocols,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}
	h := &http.Client{Transport: transport}
	o := connect.WithClientOptions(connect.WithGRPC(), connect.WithReadMaxBytes(maxAnswer))
	return &client{
		http:       h,
		containers: connect.NewClient[wire.ListContainersRequest, wire.ListContainersResponse](h, service+"ListContainers", o),
		sandboxes:  connect.NewClient[wire.ListPodSandboxRequest, wire.ListPodSandboxResponse](h, service+"ListPodSandbox", o),
		events:     connect.NewClient[wire.GetEventsRequest, wire.ContainerEventResponse](h, service+"GetContainerEvents", o),
	}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// listContainers returns the container with this id, or all when it is "".
func (c *client) listContainers(ctx context.Context, id string) ([]*wire.Container, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answer, err := c.containers.CallUnary(ctx, connect.NewRequest(&wire.ListContainersRequest{Filter: &wire.ContainerFilter{Id: id}}))
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	return answer.Msg.GetContainers(), nil
}

// listSandboxes returns the pods that filter says.
func (c *client) listSandboxes(ctx context.Context, filter *wire.PodSandboxFilter) ([]*wire.PodSandbox, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answer, err := c.sandboxes.CallUnary(ctx, connect.NewRequest(&wire.ListPodSandboxRequest{Filter: filter}))
	if err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	return answer.Msg.GetItems(), nil
}

// follow calls fn for each event until the runtime ends the stream or ctx ends.
func (c *client) follow(ctx context.Context, fn func(*wire.ContainerEventResponse)) error {
	stream, err := c.events.CallServerStream(ctx, connect.NewRequest(&wire.GetEventsRequest{}))
	if err != nil {
		return fmt.Errorf("follow containers: %w", err)
	}
	defer stream.Close() //nolint:errcheck // what came is read; why it ended is asked below
	for stream.Receive() {
		fn(stream.Msg())
	}
	if err := stream.Err(); err != nil {
		return fmt.Errorf("follow containers: %w", err)
	}
	return nil
}
