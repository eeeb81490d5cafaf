// SPDX-License-Identifier: Apache-2.0

package query

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/api/spoor/v1/spoorv1connect"
	"github.com/spoor/spoor/collector/store"
)

// Findings changes findings.
type Findings interface {
	// Update acknowledges or resolves the finding with this fingerprint. It returns it as it is from now on, or an
	// error that wraps store.ErrNotFound.
	Update(ctx context.Context, fingerprint string, state spoorv1.FindingState, note string) (*spoorv1.Finding, error)
}

// Options of New. Store, Findings and Connected are required.
type Options struct {
	Store    store.Store
	Findings Findings
	// Connected says whether an agent of the node has a stream to this collector.
	Connected func(cluster, node string) bool
	// Notify returns a channel that is closed, or sent to, when something is committed after the call. Without it,
	// and beside it for what others commit to the same store, followers look once in Poll.
	Notify func() <-chan struct{}
	// Poll is a second.
	Poll time.Duration
	// MaxFollowers is how many FollowEvents may run at a time: 256.
	MaxFollowers int
	// SQLTimeout is how long a statement may run: 20 s.
	SQLTimeout time.Duration
	// Version of the collector, for people.
	Version    string
	Now        func() time.Time
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

func (o Options) withDefaults() Options {
	if o.Notify == nil {
		o.Notify = func() <-chan struct{} { return nil }
	}
	if o.Poll == 0 {
		o.Poll = time.Second
	}
	if o.MaxFollowers == 0 {
		o.MaxFollowers = 256
	}
	if o.SQLTimeout == 0 {
		o.SQLTimeout = 20 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Registerer == nil {
		o.Registerer = prometheus.NewRegistry()
	}
	return o
}

func (o Options) validate() error {
	var errs []error
	for _, f := range []struct {
		name    string
		missing bool
	}{{"Store", o.Store == nil}, {"Findings", o.Findings == nil}, {"Connected", o.Connected == nil}} {
		if f.missing {
			errs = append(errs, fmt.Errorf("query: option %s is nil", f.name))
		}
	}
	if o.Poll < 0 || o.MaxFollowers < 0 || o.SQLTimeout < 0 {
		errs = append(errs, errors.New("query: options Poll, MaxFollowers and SQLTimeout must not be negative"))
	}
	return errors.Join(errs...)
}

// Service implements spoorv1connect.QueryServiceHandler.
type Service struct {
	o        Options
	metrics  *metrics
	seats    chan struct{} // one for each follower
	stopping chan struct{}
	stop     sync.Once
	memo     nodesMemo
}

var _ spoorv1connect.QueryServiceHandler = (*Service)(nil)

// New makes a Service. It starts nothing.
func New(o Options) (*Service, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	s := &Service{o: o, seats: make(chan struct{}, o.MaxFollowers), stopping: make(chan struct{})}
	var err error
	if s.metrics, err = newMetrics(o.Registerer, func() int { return len(s.seats) }); err != nil {
		return nil, err
	}
	return s, nil
}

// maxRequestBytes is far above what the longest allowed request needs.
const maxRequestBytes = 1 << 20

// Handler returns the service as an HTTP handler and the path where it belongs.
func (s *Service) Handler(options ...connect.HandlerOption) (path string, handler http.Handler) {
	return spoorv1connect.NewQueryServiceHandler(s, append([]connect.HandlerOption{connect.WithReadMaxBytes(maxRequestBytes), compression()}, options...)...)
}

// Stop ends all FollowEvents, and those that begin later: nothing else ends them before their clients do. It suits
// http.Server.RegisterOnShutdown.
func (s *Service) Stop() { s.stop.Do(func() { close(s.stopping) }) }

// answer runs f for one request, measures it and puts what went wrong into the words of the protocol.
func answer[Q, A any](ctx context.Context, s *Service, method string, request *connect.Request[Q], f func(context.Context, *Q) (*A, error)) (*connect.Response[A], error) {
	begun := time.Now()
	message, err := f(ctx, request.Msg)
	if err != nil {
		err = s.explain(ctx, method, err)
	}
	s.metrics.seconds.WithLabelValues(method, outcome(err)).Observe(time.Since(begun).Seconds())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(message), nil
}

func outcome(err error) string {
	if err == nil {
		return "ok"
	}
	return connect.CodeOf(err).String()
}
