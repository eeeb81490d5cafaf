// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// A load works for some seconds, in steps, so that a program's files are changed more than once.
const (
	steps = 8
	step  = 700 * time.Millisecond
)

// load is what a small client does with a program.
type load func(ctx context.Context, s *stage, n int) error

// work does a load in steps; the first error of a step is that of the load.
func work(ctx context.Context, s *stage, l load) error {
	for n := range steps {
		if l != nil {
			if err := l(ctx, s, n); err != nil {
				return fmt.Errorf("load: %w", err)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(step):
		}
	}
	return nil
}

func fetch(ctx context.Context, method, address string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode >= 500 {
		return fmt.Errorf("%s %s: %s", method, address, resp.Status)
	}
	return nil
}

func browse(ctx context.Context, s *stage, n int) error {
	return fetch(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/?n=%d", s.port, n), nil)
}

// post sends a body that is too large for a proxy's memory buffer.
func post(ctx context.Context, s *stage, _ int) error {
	return fetch(ctx, http.MethodPost, fmt.Sprintf("http://127.0.0.1:%d/", s.port), make([]byte, 256<<10))
}

func upload(ctx context.Context, s *stage, n int) error {
	address := fmt.Sprintf("http://127.0.0.1:%d/picture-%d.jpg", s.port, n%4)
	// What an earlier life took is asked for before it is replaced.
	return errors.Join(fetch(ctx, http.MethodGet, address, nil), fetch(ctx, http.MethodPut, address, []byte(time.Now().String())))
}

func throughProxy(ctx context.Context, s *stage, _ int) error {
	client := http.Client{Transport: &http.Transport{Proxy: func(*http.Request) (*url.URL, error) {
		return url.Parse("http://127.0.0.1:" + strconv.Itoa(s.port))
	}, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.upstream, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// say sends lines to a port and wants an answer, unless it is UDP.
func say(network, format string) load {
	return func(ctx context.Context, s *stage, n int) error {
		c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, network, "127.0.0.1:"+strconv.Itoa(s.port))
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }() // the answer was read
		text := format
		if strings.Contains(format, "%d") {
			text = fmt.Sprintf(format, n)
		}
		if _, err := io.WriteString(c, text); err != nil || network == "udp" {
			return err
		}
		if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			return err
		}
		_, err = c.Read(make([]byte, 512))
		return err
	}
}

// publish leaves a retained message with an MQTT 3.1.1 broker.
func publish(ctx context.Context, s *stage, n int) error {
	topic, text := "news", fmt.Sprint("message ", n)
	packet := append([]byte{0x10, 14, 0, 4}, "MQTT"...)
	packet = append(packet, 4, 2, 0, 60, 0, 2, 'v', "0123456789"[n%10])
	packet = append(packet, 0x31, byte(2+len(topic)+len(text)), 0, byte(len(topic))) //nolint:gosec // a few bytes
	return say("tcp", string(packet)+topic+text)(ctx, s, 0)
}

// stream keeps a message in a stream of a NATS server, if it has any, and waits until it was taken.
func stream(ctx context.Context, s *stage, _ int) error {
	c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(s.port))
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // the answer was read
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	const config = `{"name": "VISITS", "subjects": ["visits"]}`
	request := fmt.Sprintf("CONNECT {}\r\nPUB $JS.API.STREAM.CREATE.VISITS %d\r\n%s\r\nPUB visits 5\r\nhello\r\nPING\r\n", len(config), config)
	if _, err := io.WriteString(c, request); err != nil {
		return err
	}
	for answers := bufio.NewScanner(c); answers.Scan(); {
		if answers.Text() == "PONG" {
			return nil
		}
	}
	return errors.New("NATS does not answer")
}

func resolve(ctx context.Context, s *stage, _ int) error {
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", "127.0.0.1:"+strconv.Itoa(s.port))
	}}
	_, err := r.LookupHost(ctx, "shop.example")
	return err
}

// command runs one in the runner's own name, as a person would.
func command(argv ...string) load {
	return func(ctx context.Context, s *stage, _ int) error { return s.command(ctx, argv...) }
}

// onceUp tries for 20 seconds: a server that listens may still be starting.
func onceUp(l load) load {
	return func(ctx context.Context, s *stage, n int) (err error) {
		for range 40 {
			if err = l(ctx, s, n); err == nil || ctx.Err() != nil {
				return err
			}
			time.Sleep(500 * time.Millisecond)
		}
		return err
	}
}

func (s *stage) command(ctx context.Context, argv ...string) error {
	args := make([]string, len(argv))
	for i, a := range argv {
		args[i] = s.fill(a)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Env = s.dir, s.env()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// script asks PHP-FPM for a page (FastCGI 1.0).
func script(ctx context.Context, s *stage, n int) error {
	c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(s.port))
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // the answer was read
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	var params []byte
	for name, value := range map[string]string{
		"SCRIPT_FILENAME": s.dir + "/app.php", "REQUEST_METHOD": "GET", "QUERY_STRING": fmt.Sprintf("user=%d", n%3), "SERVER_PROTOCOL": "HTTP/1.1",
	} {
		params = append(params, byte(len(name)), byte(len(value))) //nolint:gosec // a few bytes
		params = append(append(params, name...), value...)
	}
	record := func(kind byte, content []byte) []byte {
		head := []byte{1, kind, 0, 1, 0, 0, 0, 0}
		binary.BigEndian.PutUint16(head[4:], uint16(len(content))) //nolint:gosec // a few bytes
		return append(head, content...)
	}
	const begin, paramsKind, input = 1, 4, 5
	request := record(begin, []byte{0, 1, 0, 0, 0, 0, 0, 0})
	request = append(request, record(paramsKind, params)...)
	request = append(append(request, record(paramsKind, nil)...), record(input, nil)...)
	if _, err := c.Write(request); err != nil {
		return err
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		return err
	}
	if bytes.Contains(answer, []byte("Status: 5")) || bytes.Contains(answer, []byte("PHP message")) {
		return fmt.Errorf("PHP says: %q", answer)
	}
	return nil
}

// listening says whether anybody listens on a port, TCP or UDP, on IPv4 or both.
func listening(port int) bool {
	suffix := fmt.Sprintf(":%04X", port)
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6", "/proc/net/udp", "/proc/net/udp6"} {
		data, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			f := strings.Fields(line)
			// Listening TCP sockets are in state 0A, bound UDP sockets in 07.
			if len(f) > 3 && strings.HasSuffix(f[1], suffix) && (f[3] == "0A" || f[3] == "07") {
				return true
			}
		}
	}
	return false
}
