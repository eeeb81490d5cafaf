// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// patience bounds whatever another service is asked.
const patience = 10 * time.Second

// stall is what every service has.
type stall struct {
	name, listen, root string
	times              int
	stay               time.Duration
	others             map[string]*string
	journal            *journal
}

// keep writes a file, or appends to it.
func (s *stall) keep(path string, content []byte, appending bool) (err error) {
	flags := os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	if appending {
		flags = os.O_WRONLY | os.O_CREATE | os.O_APPEND
	}
	f, err := os.OpenFile(filepath.Join(s.root, path), flags, 0o600)
	if err != nil {
		return fmt.Errorf("keep %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(content); err != nil {
		return fmt.Errorf("keep %s: %w", path, err)
	}
	return s.journal.note(Act{Act: "write", Path: path})
}

// call asks another service by HTTP, over a connection of its own as a client without a pool does.
func (s *stall) call(ctx context.Context, service, path string, body []byte) ([]byte, error) {
	address := *s.others[service]
	if address == "" {
		return nil, fmt.Errorf("call %s: its address is not known: give -%s, or run where Kubernetes sets it", service, service)
	}
	var client string
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, network, address)
			if err == nil {
				client = c.LocalAddr().String()
			}
			return c, err
		},
	}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ask, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", service, err)
	}
	answer, err := transport.RoundTrip(ask)
	if err != nil {
		return nil, fmt.Errorf("call %s at %s: %w", service, address, err)
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, fmt.Errorf("call %s at %s: %w", service, address, err)
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("call %s at %s: %s: %s", service, address, answer.Status, bytes.TrimSpace(content))
	}
	return content, s.journal.note(Act{Act: "call", Service: service, Peer: address, Client: client})
}

// report sends one datagram to the meter.
func (s *stall) report(ctx context.Context, what string) error {
	address := *s.others["meter"]
	if address == "" {
		return nil // a shop without one
	}
	c, err := (&net.Dialer{}).DialContext(ctx, "udp", address)
	if err != nil {
		return fmt.Errorf("report to the meter at %s: %w", address, err)
	}
	_, err = c.Write([]byte(s.name + "." + what + ":1|c"))
	if err := errors.Join(err, c.Close()); err != nil {
		return fmt.Errorf("report to the meter at %s: %w", address, err)
	}
	return s.journal.note(Act{Act: "send", Service: "meter", Peer: address, Client: c.LocalAddr().String()})
}

// serve answers until ctx ends. Of each call it tells the meter first.
func (s *stall) serve(ctx context.Context, handlers map[string]func(ctx context.Context, body []byte) ([]byte, error)) error {
	mux := http.NewServeMux()
	for path, handle := range handlers {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
			var content []byte
			if err == nil {
				err = errors.Join(s.journal.note(Act{Act: "serve", Client: r.RemoteAddr}), s.report(r.Context(), path[1:]))
			}
			if err == nil {
				content, err = handle(r.Context(), body)
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			_, _ = w.Write(content) // whoever went away is not told
		})
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.listen)
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: patience}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := s.journal.note(Act{Act: "ready"}); err != nil {
		return err
	}
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	return nil
}
