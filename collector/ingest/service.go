// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/api/spoor/v1/spoorv1connect"
	"github.com/spoor/spoor/collector/anteroom"
	"github.com/spoor/spoor/collector/store"
)

const (
	// inFlight is how many batches of one agent may wait for their acknowledgement here, however small they are.
	inFlight = 8
	// maxGuests is how many streams may wait for their hello.
	maxGuests = 1024
)

// ServiceOptions of NewService.
type ServiceOptions struct {
	Committer *Committer // required
	// Identify says who is at the other end and may refuse. It is given what the agent claims; PeerCertificate knows what
	// it has proven. The default believes the agent.
	Identify func(ctx context.Context, hello *spoorv1.Hello) (cluster, node string, err error)
	// HelloTimeout is how long an agent may take to say who it is: 10 seconds.
	HelloTimeout time.Duration
	// Admit says whether somebody may open a stream before saying who it is: a client without a certificate, where agents have
	// some, must not hold one. The default lets everybody in.
	Admit func(ctx context.Context) error
	// SendTimeout is how long an agent may take to read an acknowledgement: 30 seconds.
	SendTimeout time.Duration
	Limits      Limits
	Logger      *slog.Logger          // required
	Registerer  prometheus.Registerer // required
}

// Service speaks with agents.
type Service struct {
	o        ServiceOptions
	sessions *sessions
	anteroom *anteroom.Anteroom
	room     *room
	paces    *paces
	metrics  *serviceMetrics
}

var _ spoorv1connect.AgentServiceHandler = (*Service)(nil)

// NewService returns a Service.
func NewService(o ServiceOptions) (*Service, error) {
	switch {
	case o.Committer == nil:
		return nil, errors.New("ingest: ServiceOptions.Committer is nil")
	case o.Logger == nil:
		return nil, errors.New("ingest: ServiceOptions.Logger is nil")
	case o.Registerer == nil:
		return nil, errors.New("ingest: ServiceOptions.Registerer is nil")
	}
	if o.Identify == nil {
		o.Identify = func(_ context.Context, h *spoorv1.Hello) (cluster, node string, err error) {
			return h.GetCluster(), h.GetNode(), nil
		}
	}
	if o.HelloTimeout == 0 {
		o.HelloTimeout = 10 * time.Second
	}
	if o.SendTimeout == 0 {
		o.SendTimeout = 30 * time.Second
	}
	if o.Admit == nil {
		o.Admit = func(context.Context) error { return nil }
	}
	if err := o.Limits.Validate(); err != nil {
		return nil, fmt.Errorf("ingest: ServiceOptions.Limits: %w", err)
	}
	o.Limits = o.Limits.withDefaults()
	s := &Service{o: o, sessions: newSessions(), anteroom: anteroom.New(maxGuests), room: newRoom(o.Limits.NodeBytes, o.Limits.TotalBytes)}
	s.paces = newPaces(o.Limits.RecordsPerSecond, o.Limits.Burst, func(k nodeKey) bool { return s.ConnectedNode(k.cluster, k.node) })
	var err error
	s.metrics, err = newServiceMetrics(o.Registerer, s)
	return s, err
}

// deadlineKey is where Handler puts the controller of the request's deadlines; certificateKey is for the certificate of the other
// side.
type (
	deadlineKey    struct{}
	certificateKey struct{}
)

// PeerCertificate returns the certificate of the agent at the other end, which an authority has vouched for, or nil.
func PeerCertificate(ctx context.Context) *x509.Certificate {
	cert, _ := ctx.Value(certificateKey{}).(*x509.Certificate)
	return cert
}

// Handler returns the path and the handler of AgentService.
func (s *Service) Handler(opts ...connect.HandlerOption) (string, http.Handler) {
	path, h := spoorv1connect.NewAgentServiceHandler(s, append(opts, connect.WithReadMaxBytes(int(s.o.Limits.MessageBytes)))...)
	return path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A stream that waits for its agent can only be woken by its deadline.
		ctx := context.WithValue(r.Context(), deadlineKey{}, http.NewResponseController(w))
		if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
			ctx = context.WithValue(ctx, certificateKey{}, r.TLS.VerifiedChains[0][0])
		}
		h.ServeHTTP(w, r.WithContext(ctx))
	})
}

// Connected reports whether the run has a stream open.
func (s *Service) Connected(run store.Run) bool {
	n := s.sessions.of(run.Cluster, run.Node)
	return n != nil && n.run == run
}

// ConnectedNode reports whether any run of the node's agent has a stream open.
func (s *Service) ConnectedNode(cluster, node string) bool {
	return s.sessions.of(cluster, node) != nil
}

// Stop ends every stream after what it has sent is durable, and takes no new ones.
func (s *Service) Stop() { s.sessions.stop() }

type shipStream = connect.BidiStream[spoorv1.ShipRequest, spoorv1.ShipResponse]

// Ship implements spoorv1connect.AgentServiceHandler.
func (s *Service) Ship(ctx context.Context, stream *shipStream) error {
	control, ok := ctx.Value(deadlineKey{}).(*http.ResponseController)
	if !ok {
		return connect.NewError(connect.CodeInternal, errors.New("ingest: the handler was not mounted through Service.Handler"))
	}
	err := s.explain(s.ship(ctx, stream, control))
	s.metrics.ended.WithLabelValues(endOf(ctx, err)).Inc()
	var refused *RefusedError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused):
		s.metrics.refused.WithLabelValues(refused.Reason).Inc()
		s.o.Logger.Warn("an agent was refused", "error", err, "reason", refused.Reason, "peer", stream.Peer().Addr)
		return connect.NewError(refused.code(), err)
	case errors.Is(err, errSuperseded):
		return connect.NewError(connect.CodeAborted, err)
	case errors.Is(err, ErrStopped), errors.Is(err, errExpired), errors.Is(err, errPushed):
		return connect.NewError(connect.CodeUnavailable, err)
	case ctx.Err() != nil:
		return ctx.Err()
	}
	if _, ok := errors.AsType[*connect.Error](err); ok {
		return err
	}
	return connect.NewError(connect.CodeUnavailable, fmt.Errorf("events cannot be stored now, send them again: %w", err))
}

// explain says of messages that could not even be read what is wrong with them.
func (s *Service) explain(err error) error {
	if _, ok := errors.AsType[*RefusedError](err); ok || err == nil {
		return err
	}
	switch connect.CodeOf(err) {
	case connect.CodeResourceExhausted:
		return refuse(reasonMessage, "a message is larger than the %d bytes that are taken, uncompressed: let the agent send smaller batches, or the collector take more with --agent-message (%v)",
			s.o.Limits.MessageBytes, err)
	case connect.CodeInvalidArgument:
		return refuse(reasonMalformed, "a message is not what the protocol says: is it an agent of spoor, and is nothing between that changes what it sends? (%v)", err)
	default:
		return err
	}
}

func (s *Service) ship(ctx context.Context, stream *shipStream, control *http.ResponseController) error {
	if err := s.o.Admit(ctx); err != nil {
		s.metrics.refused.WithLabelValues(reasonIdentity).Inc()
		return err
	}
	if err := control.SetReadDeadline(time.Now().Add(s.o.HelloTimeout)); err != nil {
		return connect.NewError(connect.CodeUnimplemented, fmt.Errorf("the connection has no deadlines: use HTTP/2: %w", err))
	}
	var pushed atomic.Bool
	left := s.anteroom.Enter(func() {
		pushed.Store(true)
		_ = control.SetReadDeadline(time.Unix(1, 0)) // who cannot be woken is gone
	})
	first, err := stream.Receive()
	left()
	switch {
	case pushed.Load():
		return errPushed
	case errors.Is(err, io.EOF):
		return refuse(reasonProtocol, "the stream ended before hello")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w: %w", errNoHello, refuse(reasonProtocol, "no hello within %v", s.o.HelloTimeout))
	case err != nil:
		return err
	case first.GetHello() == nil:
		return refuse(reasonProtocol, "the first message is not hello")
	}
	if err := control.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	hello, err := s.greet(ctx, first.GetHello())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	session, err := s.sessions.begin(ctx, hello.Run, func(why error) {
		cancel(why)
		// The reader wakes with an error; a stream that cannot be woken is gone anyway.
		_ = control.SetReadDeadline(time.Unix(1, 0))
	})
	if err != nil {
		return err
	}
	defer s.sessions.end(session)
	if cert := PeerCertificate(ctx); cert != nil {
		// A stream must not outlive what it was let in by; the agent comes again with what it has by then.
		expire := time.AfterFunc(time.Until(cert.NotAfter), func() { session.stop(errExpired) })
		defer expire.Stop()
	}
	link := &link{service: s, stream: stream, run: hello.Run, key: nodeKey{hello.Cluster, hello.Node}, pace: s.paces.of(nodeKey{hello.Cluster, hello.Node})}
	if err := link.pace.spend(ctx, helloCost, link.slowed); err != nil {
		return err
	}
	greeting := &submission{hello: hello}
	s.o.Committer.submit(greeting)
	if err := s.o.Committer.await(greeting); err != nil {
		return err
	}
	s.o.Logger.Info("agent connected", "cluster", hello.Cluster, "node", hello.Node, "version", hello.Version, "kernel", hello.KernelRelease,
		"acknowledged", greeting.acknowledged)
	defer s.o.Logger.Info("agent disconnected", "cluster", hello.Cluster, "node", hello.Node)
	sender := &sender{stream: stream, control: control, patience: s.o.SendTimeout}
	welcome := &spoorv1.Welcome{Acknowledged: greeting.acknowledged}
	if err := sender.send(&spoorv1.ShipResponse{Message: &spoorv1.ShipResponse_Welcome{Welcome: welcome}}); err != nil {
		return err
	}
	if first.GetHello().GetEnded() != nil {
		link.ended = hello.Seen
	}
	return link.exchange(ctx, sender, session)
}

// greet checks who the agent says it is.
func (s *Service) greet(ctx context.Context, h *spoorv1.Hello) (*store.Hello, error) {
	if err := checkTexts(
		text{"hello.cluster", h.GetCluster(), 253}, text{"hello.node", h.GetNode(), 253}, text{"hello.epoch", h.GetEpoch(), 64},
		text{"hello.boot_id", h.GetBootId(), 64}, text{"hello.version", h.GetVersion(), 128},
		text{"hello.kernel_release", h.GetKernelRelease(), 128}, text{"hello.architecture", h.GetArchitecture(), 64},
	); err != nil {
		return nil, err
	}
	if h.GetEpoch() == "" {
		return nil, refuse(reasonHello, "hello.epoch is empty")
	}
	if err := checkTimes(h.GetStartTime(), h.GetEnded()); err != nil {
		return nil, err
	}
	cluster, node, err := s.o.Identify(ctx, h)
	if connect.CodeOf(err) == connect.CodeUnauthenticated {
		s.metrics.refused.WithLabelValues(reasonIdentity).Inc()
		return nil, err
	}
	if err != nil {
		return nil, refuse(reasonIdentity, "%v", err)
	}
	if node == "" { // a certificate may have said it
		return nil, refuse(reasonHello, "hello.node is empty")
	}
	hello := &store.Hello{
		Run: store.Run{Cluster: cluster, Node: node, Epoch: h.GetEpoch()}, BootID: h.GetBootId(), Version: h.GetVersion(),
		KernelRelease: h.GetKernelRelease(), Architecture: h.GetArchitecture(), Seen: time.Now(),
	}
	if h.GetStartTime() != nil {
		hello.Start = h.GetStartTime().AsTime()
	}
	// A run that has ended is not seen now: another one brings what it left.
	if ended := h.GetEnded(); ended != nil && ended.AsTime().Before(hello.Seen) {
		hello.Seen = ended.AsTime()
	}
	return hello, nil
}
