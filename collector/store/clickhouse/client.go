// SPDX-License-Identifier: Apache-2.0

package clickhouse

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// maxAnswer bounds what one answer takes of the memory.
	maxAnswer = 256 << 20
	// maxExplanation bounds what is kept of an error.
	maxExplanation = 2 << 10
	// attempts is how often a statement is tried, in turn at all hosts, before it has failed.
	attempts = 6
	// firstPause is between the first two rounds of all hosts; it doubles.
	firstPause = 50 * time.Millisecond
	// maxStatement is how long a statement may be without asking the server to take it; theirs is 256 KiB.
	maxStatement = 200 << 10
	// requestTimeout bounds one statement that changes something or is of ours.
	requestTimeout = 60 * time.Second
)

// settings go into the URL. Their names are ClickHouse's.
type settings map[string]string

// client speaks ClickHouse's HTTP interface, at whichever host works. What it is given can be said twice: reads, and inserts that have a
// token by which the server knows them again.
type client struct {
	address *Address
	http    *http.Client
	current atomic.Uint32 // index into address.Hosts
	retried *prometheus.CounterVec
}

func newClient(a *Address, secure *tls.Config, retried *prometheus.CounterVec) *client {
	return &client{address: a, retried: retried, http: &http.Client{Transport: &http.Transport{
		DialContext:     (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig: secure, TLSHandshakeTimeout: 5 * time.Second, MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute,
	}}}
}

// A serverError is what ClickHouse answered.
type serverError struct {
	code    int // of ClickHouse; 0 when it is not from there
	status  int
	message string
}

func (e *serverError) Error() string { return e.message }

// Codes of ClickHouse's errors (src/Common/ErrorCodes.cpp).
const (
	codeUnknownDatabase = 81
	codeTimeout         = 159
	codeReadonly        = 164
	codeTooManyRows     = 158
	codeMemory          = 241
)

// passing are errors that another host, or the same one soon, need not have: no room for another query or part, a replica that is away
// from its Keeper, a quorum that is not there.
var passing = map[int]string{
	202: "busy", 252: "parts", 209: "network", 210: "network", 242: "readonly", 225: "keeper", 999: "keeper",
	285: "quorum", 286: "quorum", 319: "quorum", 279: "network", 236: "aborted",
}

// why says whether it may help to try again, and in a word why.
func why(err error) (reason string, again bool) {
	var s *serverError
	if !errors.As(err, &s) {
		return "network", true
	}
	if reason, ok := passing[s.code]; ok {
		return reason, true
	}
	return "unavailable", s.code == 0 && s.status >= 500 // a proxy
}

// do sends a statement, with data for an INSERT, and returns the answer.
func (c *client) do(ctx context.Context, statement string, data []byte, with settings) ([]byte, error) {
	pause := firstPause
	for attempt := 1; ; attempt++ {
		at := c.current.Load()
		host := c.address.Hosts[int(at)%len(c.address.Hosts)]
		answer, err := c.once(ctx, host, statement, data, with)
		if err == nil {
			return answer, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		reason, again := why(err)
		err = fmt.Errorf("clickhouse at %s: %w", host, err)
		if !again || attempt >= max(attempts, len(c.address.Hosts)) {
			return nil, err
		}
		c.retried.WithLabelValues(reason).Inc()
		c.current.CompareAndSwap(at, at+1) // somebody else may have gone on already
		if attempt%len(c.address.Hosts) != 0 {
			continue
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, err
		}
		pause *= 2
	}
}

func (c *client) once(ctx context.Context, host, statement string, data []byte, with settings) (_ []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	values := url.Values{"database": {c.address.Database}, "default_format": {"RowBinary"}, "wait_end_of_query": {"1"}}
	for name, value := range with {
		values.Set(name, value)
	}
	if len(statement) > maxStatement { // of many clocks that were off
		values.Set("max_query_size", strconv.Itoa(2*len(statement)))
	}
	body := []byte(statement)
	if data != nil {
		values.Set("query", statement)
		body = data
	}
	u := url.URL{Scheme: "http", Host: host, Path: "/", RawQuery: values.Encode()}
	if c.address.Secure {
		u.Scheme = "https"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if c.address.User != "" {
		request.Header.Set("X-ClickHouse-User", c.address.User)
		request.Header.Set("X-ClickHouse-Key", c.address.Password)
	}
	response, err := c.http.Do(request)
	if err != nil {
		if sent, ok := errors.AsType[*url.Error](err); ok {
			err = sent.Err // without the URL, which has the statement
		}
		return nil, err
	}
	defer response.Body.Close()
	code, err := strconv.Atoi(response.Header.Get("X-ClickHouse-Exception-Code"))
	if response.StatusCode != http.StatusOK || err == nil {
		message, _ := io.ReadAll(io.LimitReader(response.Body, maxExplanation)) // as much of it as comes
		_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<20))        // so that the connection can be used again
		return nil, &serverError{code: code, status: response.StatusCode, message: explanation(string(message), response.Status)}
	}
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err == nil && len(answer) > maxAnswer {
		err = &serverError{code: codeTooManyRows, status: http.StatusOK, message: fmt.Sprintf("an answer has more than %d MiB: ask for less", maxAnswer>>20)}
	}
	return answer, err
}

// explanation is what the server says, without what it repeats.
func explanation(message, status string) string {
	message = strings.ToValidUTF8(strings.TrimSpace(message), "\uFFFD")
	for {
		rest, ok := strings.CutPrefix(message, "Code: ")
		if !ok {
			break
		}
		_, rest, ok = strings.Cut(rest, "DB::Exception: ")
		if !ok {
			break
		}
		message = rest
	}
	if message == "" {
		return status
	}
	return message
}

// exec runs a statement that returns nothing.
func (c *client) exec(ctx context.Context, statement string, with settings) error {
	_, err := c.do(ctx, statement, nil, with)
	return err
}

// query runs a SELECT.
func (c *client) query(ctx context.Context, statement string) (*decoder, error) {
	answer, err := c.do(ctx, statement, nil, nil)
	if err != nil {
		return nil, err
	}
	return &decoder{b: answer}, nil
}

func (c *client) close() { c.http.CloseIdleConnections() }
