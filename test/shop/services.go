// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

type handlers = map[string]func(ctx context.Context, body []byte) ([]byte, error)

// item makes a file name of what somebody asked for.
func item(body []byte) string {
	return "item-" + strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, string(body))
}

func storefront(ctx context.Context, s *stall) error {
	return s.serve(ctx, handlers{"/buy": func(ctx context.Context, body []byte) ([]byte, error) {
		if err := s.keep("/tmp/session-"+item(body), body, false); err != nil {
			return nil, err
		}
		if err := s.keep("/dev/shm/hits", body, true); err != nil {
			return nil, err
		}
		page, err := s.call(ctx, "catalogue", "/page", body)
		if err != nil {
			return nil, err
		}
		return s.call(ctx, "orders", "/order", page)
	}})
}

func catalogue(ctx context.Context, s *stall) error {
	return s.serve(ctx, handlers{"/page": func(_ context.Context, body []byte) ([]byte, error) {
		page := []byte("<h1>" + item(body) + "</h1>")
		return page, errors.Join(s.keep("/cache/"+item(body)+".html", page, false), s.keep("/prices/"+item(body), body, false))
	}})
}

func orders(ctx context.Context, s *stall) error {
	return s.serve(ctx, handlers{"/order": func(ctx context.Context, body []byte) ([]byte, error) {
		if err := errors.Join(s.keep("/ledger/book", append(body, '\n'), true), s.keep("/desk/draft", body, false)); err != nil {
			return nil, err
		}
		return s.call(ctx, "payments", "/pay", body)
	}})
}

func payments(ctx context.Context, s *stall) error {
	return s.serve(ctx, handlers{"/pay": func(_ context.Context, body []byte) ([]byte, error) {
		return []byte("paid"), s.keep("/receipts/"+item(body), body, false)
	}})
}

// meter counts datagrams and writes each one down.
func meter(ctx context.Context, s *stall) error {
	c, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp", s.listen)
	if err != nil {
		return fmt.Errorf("meter: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	if err := s.journal.note(Act{Act: "ready"}); err != nil {
		return err
	}
	buf := make([]byte, 512)
	for {
		n, from, err := c.ReadFrom(buf)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was stopped
		}
		if err != nil {
			return fmt.Errorf("meter: %w", err)
		}
		if err := errors.Join(
			s.journal.note(Act{Act: "receive", Client: from.String()}),
			s.keep("/counts/log", append(buf[:n:n], '\n'), true),
		); err != nil {
			return err
		}
	}
}

// customer buys. A shop that is just opening may refuse: then it comes back.
func customer(ctx context.Context, s *stall) error {
	for i := range s.times {
		var err error
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(200 * time.Millisecond) {
			if _, err = s.call(ctx, "storefront", "/buy", fmt.Append(nil, i)); err == nil {
				break
			}
		}
		if err != nil {
			return err
		}
	}
	return s.journal.note(Act{Act: "done"})
}

// archive files what it has at once, and then waits to be stopped.
func archive(ctx context.Context, s *stall) error {
	for i := range s.times {
		body := fmt.Append(nil, i)
		if err := errors.Join(
			s.keep("/drafts/"+item(body), body, false), s.keep("/bench/"+item(body), body, false),
			s.keep("/vault/"+item(body), body, false), s.keep("/index/all", append(body, '\n'), true),
		); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return nil
}

func blink(ctx context.Context, s *stall) error {
	select {
	case <-ctx.Done():
	case <-time.After(s.stay):
	}
	return errors.Join(s.keep("/tmp/blink", []byte("blink"), false), s.journal.note(Act{Act: "done"}))
}
