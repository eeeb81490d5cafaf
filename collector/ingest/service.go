// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"os"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/api/spoor/v1/spoorv1connect"
	"github.com/spoor/spoor/collector/store"
	"golang.org/x/sync/semaphore"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	// maxMessage bounds one message of an agent.
	maxMessage = 16 << 20
	// inFlight is how many batches of one agent may wait for their acknowledgement here. An agent that sends more is
	// made to wait by HTTP/2's flow control, and delays no other: each has as many places in the queue.
	inFlight = 8
	// memory bounds the batches of all agents that are not durable yet, in bytes as they came.
	memory = 256 << 20
	// sendTimeout is how long an agent may take to read an acknowledgement.
	sendTimeout = 30 * time.Second
)

// ServiceOptions of NewService.
type ServiceOptions struct {
	Committer *Committer // required
	// Identify says who is at the other end and may refuse. It is given what the agent claims; PeerCertificate knows what
	// it has proven. The default believes the agent.
	Identify func(ctx context.Context, hello *spoorv1.Hello) (cluster, node string, err error)
	// HelloTimeout is how long an agent may take to say who it is: 10 seconds.
	HelloTimeout time.Duration
	Logger       *slog.Logger          // required
	Registerer   prometheus.Registerer // required
}

// Service speaks with agents.
type Service struct {
	o        ServiceOptions
	sessions *sessions
	memory   *semaphore.Weighted
	refused  *prometheus.CounterVec
	bytes    prometheus.Counter
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
	s := &Service{
		o: o, sessions: newSessions(), memory: semaphore.NewWeighted(memory),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spoor_collector_ingest_refused_total", Help: "Messages of agents that were refused, by what was wrong with them.",
		}, []string{"reason"}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "spoor_collector_ingest_received_bytes_total", Help: "Bytes of batches that agents sent, uncompressed.",
		}),
	}
	for _, r := range []string{reasonHello, reasonProtocol, reasonSize, reasonIndex, reasonSequence, reasonTime, reasonFact, reasonIdentity} {
		s.refused.WithLabelValues(r)
	}
	connected := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "spoor_collector_ingest_connected_agents", Help: "Agents with a stream open.",
	}, func() float64 { return float64(s.sessions.count()) })
	superseded := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "spoor_collector_ingest_superseded_streams_total", Help: "Streams that were ended because the same node opened another one.",
	}, func() float64 { return float64(s.sessions.superseded.Load()) })
	return s, errors.Join(o.Registerer.Register(s.refused), o.Registerer.Register(s.bytes), o.Registerer.Register(connected), o.Registerer.Register(superseded))
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
	path, h := spoorv1connect.NewAgentServiceHandler(s, append(opts, connect.WithReadMaxBytes(maxMessage))...)
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
	err := s.ship(ctx, stream, control)
	var refused *RefusedError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused):
		s.refused.WithLabelValues(refused.Reason).Inc()
		s.o.Logger.Warn("an agent was refused", "error", err, "reason", refused.Reason, "peer", stream.Peer().Addr)
		code := connect.CodeInvalidArgument
		if refused.Reason == reasonIdentity {
			code = connect.CodePermissionDenied
		}
		return connect.NewError(code, err)
	case connect.CodeOf(err) == connect.CodeResourceExhausted: // larger than maxMessage
		s.refused.WithLabelValues(reasonSize).Inc()
		return err
	case errors.Is(err, ErrStopped), errors.Is(err, errSuperseded), errors.Is(err, errExpired):
		return connect.NewError(connect.CodeUnavailable, err)
	case ctx.Err() != nil:
		return ctx.Err()
	}
	if _, ok := errors.AsType[*connect.Error](err); ok {
		return err
	}
	return connect.NewError(connect.CodeUnavailable, fmt.Errorf("events cannot be stored now, send them again: %w", err))
}

func (s *Service) ship(ctx context.Context, stream *shipStream, control *http.ResponseController) error {
	if err := control.SetReadDeadline(time.Now().Add(s.o.HelloTimeout)); err != nil {
		return connect.NewError(connect.CodeUnimplemented, fmt.Errorf("the connection has no deadlines: use HTTP/2: %w", err))
	}
	first, err := stream.Receive()
	switch {
	case errors.Is(err, io.EOF):
		return refuse(reasonProtocol, "the stream ended before hello")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refuse(reasonProtocol, "no hello within %v", s.o.HelloTimeout)
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
	session, err := s.sessions.begin(ctx, hello.Run, func() {
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
	greeting := &submission{hello: hello}
	if err := s.o.Committer.submit(ctx, greeting); err != nil {
		return err
	}
	if err := s.o.Committer.await(greeting); err != nil {
		return err
	}
	s.o.Logger.Info("agent connected", "cluster", hello.Cluster, "node", hello.Node, "version", hello.Version, "kernel", hello.KernelRelease,
		"acknowledged", greeting.acknowledged)
	defer s.o.Logger.Info("agent disconnected", "cluster", hello.Cluster, "node", hello.Node)
	sender := &sender{stream: stream, control: control}
	welcome := &spoorv1.Welcome{Acknowledged: greeting.acknowledged}
	if err := sender.send(&spoorv1.ShipResponse{Message: &spoorv1.ShipResponse_Welcome{Welcome: welcome}}); err != nil {
		return err
	}
	var ended time.Time
	if first.GetHello().GetEnded() != nil {
		ended = hello.Seen
	}
	return s.exchange(ctx, stream, sender, session, hello.Run, ended)
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
		s.refused.WithLabelValues(reasonIdentity).Inc()
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

// pending is a batch that is under way, with what it takes of the memory.
type pending struct {
	*submission
	bytes int64
}

// exchange receives batches and acknowledges them, until either side ends the stream. ended is when the run did, as far as it
// has.
func (s *Service) exchange(ctx context.Context, stream *shipStream, sender *sender, session *session, run store.Run, ended time.Time) error {
	queue := make(chan pending, inFlight)
	acknowledged := make(chan error, 1)
	go func() { acknowledged <- s.acknowledge(sender, queue, session.wake) }()
	received := s.receive(ctx, stream, run, ended, queue)
	close(queue)
	failed := <-acknowledged
	switch {
	case failed != nil:
		return failed
	case errors.Is(received, os.ErrDeadlineExceeded):
		return session.reason()
	}
	return received
}

// receive queues what the agent sends. It returns nil when the agent has ended the stream.
func (s *Service) receive(ctx context.Context, stream *shipStream, run store.Run, ended time.Time, queue chan<- pending) error {
	for {
		m, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		b := m.GetBatch()
		if b == nil {
			return refuse(reasonProtocol, "a message that is no batch, after hello")
		}
		now := time.Now()
		p := pending{bytes: int64(proto.Size(b))}
		s.bytes.Add(float64(p.bytes))
		batch := &store.Batch{Run: run, Sequence: b.GetSequence(), Received: now, Skew: skew(b.GetSent(), now)}
		if !ended.IsZero() {
			batch.Received = ended
		}
		if batch.Events, err = Expand(run, b, now); err != nil {
			return fmt.Errorf("node %s: %w", run.Node, err)
		}
		if err := s.memory.Acquire(ctx, p.bytes); err != nil {
			return err
		}
		p.submission = &submission{batch: batch}
		if err := s.o.Committer.submit(ctx, p.submission); err != nil {
			s.memory.Release(p.bytes)
			return err
		}
		queue <- p // the other side takes from it until it is closed
	}
}

// acknowledge waits for the batches in their order. After the first that cannot be made durable, or be acknowledged,
// it wakes the reader, since nothing more can be said to the agent, and waits for the rest: their memory is in use
// until then.
func (s *Service) acknowledge(sender *sender, queue <-chan pending, wake func()) error {
	var failed error
	for p := range queue {
		err := s.o.Committer.await(p.submission)
		s.memory.Release(p.bytes)
		if failed != nil {
			continue
		}
		if err == nil {
			ack := &spoorv1.Acknowledge{Sequence: p.acknowledged}
			err = sender.send(&spoorv1.ShipResponse{Message: &spoorv1.ShipResponse_Acknowledge{Acknowledge: ack}})
		}
		if failed = err; err != nil {
			wake()
		}
	}
	return failed
}

// sender bounds how long an agent that does not read can hold things up.
type sender struct {
	stream  *shipStream
	control *http.ResponseController
}

func (s *sender) send(m *spoorv1.ShipResponse) error {
	if err := s.control.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	if err := s.stream.Send(m); err != nil {
		return err
	}
	return s.control.SetWriteDeadline(time.Time{})
}

// skew is how far the agent's clock is ahead, as far as a single message can tell.
func skew(sent *timestamppb.Timestamp, now time.Time) time.Duration {
	if sent == nil || checkTime(sent) != nil {
		return 0
	}
	d := sent.AsTime().Sub(now)
	return min(max(d, math.MinInt64/2), math.MaxInt64/2)
}
