// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

const (
	// How long a client may take to send the head of a request, and an idle connection is kept.
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	// How long a stop waits for answers that are under way.
	stopTimeout = 10 * time.Second
	// How long a silent HTTP/2 connection is trusted, and how long a peer may take to show that it is alive, or to read
	// what it is sent.
	pingAfter   = 15 * time.Second
	pingTimeout = 15 * time.Second
	// Streams of one connection at a time: many more than a browser or an agent opens.
	maxStreams = 250
	// Bytes that a connection, and a stream of it, may send ahead of what is read.
	connectionWindow = 4 << 20
	streamWindow     = 1 << 20
	// Bytes of the head of a request, and of a question in it.
	maxHeader   = 64 << 10
	maxQuestion = 1 << 20
)

// serve answers until ctx ends, and then what is under way.
func (c *Collector) serve(ctx context.Context) error {
	guests := newStrangers(c.listener, maxStrangers, c.strangers.Inc)
	server := c.server(guests)
	served := make(chan error, 1)
	go func() {
		if c.o.TLS != nil {
			served <- server.ServeTLS(guests, "", "")
		} else {
			served <- server.Serve(guests)
		}
	}()
	var err error
	select {
	case err = <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	// Streams never end by themselves: they are told to.
	c.ingest.Stop()
	c.query.Stop()
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err = server.Shutdown(stopping); errors.Is(err, context.DeadlineExceeded) {
		c.o.Logger.Warn("some answers were cut short by the stop")
		err = server.Close()
	}
	if ended := <-served; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

// server bounds what connections may take, and for how long they may do nothing.
func (c *Collector) server(guests *strangers) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(c.o.TLS != nil)
	protocols.SetUnencryptedHTTP2(c.o.TLS == nil)
	return &http.Server{
		Handler: c.handle, TLSConfig: c.o.TLS, Protocols: protocols, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ConnState: guests.state,
		// Messages of net/http about single connections are nothing that somebody must act on.
		ErrorLog: slog.NewLogLogger(c.o.Logger.Handler(), slog.LevelDebug),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams, MaxReceiveBufferPerConnection: connectionWindow, MaxReceiveBufferPerStream: streamWindow,
			SendPingTimeout: pingAfter, PingTimeout: pingTimeout, WriteByteTimeout: pingTimeout,
		},
	}
}
