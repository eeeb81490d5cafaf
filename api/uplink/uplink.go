// SPDX-License-Identifier: Apache-2.0

// Package uplink is the way of batches to a collector: how agents, and collectors that forward, reach it, and which of its answers are final.
package uplink

import (
	"crypto/tls"
	"errors"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/spoor/spoor/api/spoor/v1/spoorv1connect"
)

const (
	handshakeTimeout = 10 * time.Second
	// How long a silent connection is trusted, and how long the other side may take to show that it is alive.
	pingAfter   = 15 * time.Second
	pingTimeout = 15 * time.Second
)

// Uplink opens connections to one collector.
type Uplink struct {
	url    string
	secure func() (*tls.Config, uint64)

	mu        sync.Mutex
	rpc       spoorv1connect.AgentServiceClient
	transport *http.Transport
	version   uint64 // of the certificates that transport has
}

// New returns the way to a collector, for example at https://collector.example:7070, or at http://127.0.0.1:7070. secure says how
// connections to an https URL are secured; it is asked before each, and another number means that another configuration, with
// renewed certificates, is to be used. nil takes the system's authorities and no certificate.
func New(url string, secure func() (config *tls.Config, version uint64)) *Uplink {
	if secure == nil {
		secure = func() (*tls.Config, uint64) { return nil, 1 }
	}
	return &Uplink{url: url, secure: secure}
}

// Client returns what streams are opened by, with the certificates as they are now.
func (u *Uplink) Client() spoorv1connect.AgentServiceClient {
	u.mu.Lock()
	defer u.mu.Unlock()
	config, version := u.secure()
	if u.transport != nil && version == u.version {
		return u.rpc
	}
	u.hangUp()
	// A stream in both directions needs HTTP/2, over plain TCP on loopback without TLS.
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	u.version, u.transport = version, &http.Transport{
		Protocols: protocols, TLSClientConfig: config, TLSHandshakeTimeout: handshakeTimeout,
		HTTP2: &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}
	u.rpc = spoorv1connect.NewAgentServiceClient(&http.Client{Transport: u.transport}, u.url, connect.WithGRPC())
	return u.rpc
}

// Close ends connections that carry nothing.
func (u *Uplink) Close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.hangUp()
}

func (u *Uplink) hangUp() {
	if u.transport != nil {
		u.transport.CloseIdleConnections()
	}
}

// Refuses reports whether an error is the collector's word that it will not take something, however often it is sent.
func Refuses(err error) bool {
	code, said := wire(err)
	switch code {
	case connect.CodeInvalidArgument, connect.CodeResourceExhausted, connect.CodePermissionDenied:
		return said
	default:
		return false
	}
}

// Superseded reports whether the collector ended a stream because the same node opened another one.
func Superseded(err error) bool {
	code, said := wire(err)
	return said && code == connect.CodeAborted
}

// wire returns the code of an error that the other side said, and not this one.
func wire(err error) (code connect.Code, said bool) {
	e, ok := errors.AsType[*connect.Error](err)
	if !ok || !connect.IsWireError(e) {
		return 0, false
	}
	return e.Code(), true
}
