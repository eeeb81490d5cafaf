// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"connectrpc.com/connect"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/api/spoor/v1/spoorv1connect"
	"github.com/spoor/spoor/cmd/internal/cli"
	"github.com/spoor/spoor/cmd/internal/credential"
	"github.com/spoor/spoor/cmd/spoor/internal/render"
)

// remote are the flags of every command that asks a collector.
type remote struct {
	Collector string        `help:"URL of the collector." default:"http://127.0.0.1:7070"`
	Cluster   string        `env:"SPOOR_FILTER_CLUSTER" help:"Ask about this cluster only; * matches within its name." placeholder:"NAME"`
	Timeout   time.Duration `help:"How long to wait for an answer." default:"30s"`
	CA        string        `name:"ca" help:"Certificates of the authorities that the collector is checked by, as PEM; the system's by default." placeholder:"FILE"`
	Token     string        `help:"Token to prove who asks; safer in the environment." placeholder:"TOKEN"`
}

// asker asks one collector.
type asker struct {
	spoorv1connect.QueryServiceClient
	url     string
	timeout time.Duration
	token   bool // whether it says who asks
}

func (r *remote) dial() (*asker, error) {
	url, err := cli.CollectorURL(r.Collector)
	if err != nil {
		return nil, err
	}
	client := &http.Client{}
	if r.CA != "" {
		source, err := credential.Open(credential.Files{CA: r.CA}, slog.New(slog.DiscardHandler))
		if err != nil {
			return nil, cli.BadInput(fmt.Errorf("--ca: %w", err), "")
		}
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.TLSClientConfig, _ = source.Client()
		client.Transport = transport
	}
	if r.Token != "" {
		client.Transport = bearer{token: r.Token, next: client.Transport}
	}
	a := newAsker(client, url, r.Timeout, within(r.Cluster))
	a.token = r.Token != ""
	return a, nil
}

// bearer adds a token to requests.
type bearer struct {
	token string
	next  http.RoundTripper // nil is the default
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	next := b.next
	if next == nil {
		next = http.DefaultTransport
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return next.RoundTrip(r)
}

func newAsker(client *http.Client, address string, timeout time.Duration, about within) *asker {
	options := []connect.ClientOption{connect.WithInterceptors(about)}
	if onThisHost(address) {
		// Compressing takes longer than everything else that a collector does for an answer; within a host nothing is saved by it.
		options = append(options, connect.WithAcceptCompression("gzip", nil, nil))
	}
	return &asker{spoorv1connect.NewQueryServiceClient(client, address, options...), address, timeout, false}
}

// onThisHost says whether a URL is that of a loopback address.
func onThisHost(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && ip.IsLoopback()
}

// ask makes one call and turns its failure into words.
func ask[Request, Response any](
	ctx context.Context, a *asker, call func(context.Context, *connect.Request[Request]) (*connect.Response[Response], error), request *Request,
) (*Response, error) {
	limited, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	response, err := call(limited, connect.NewRequest(request))
	if err != nil {
		return nil, a.explain(ctx, err)
	}
	return response.Msg, nil
}

// explain says what was wrong and what to do.
func (a *asker) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return cli.Failed(errors.New("interrupted"), "")
	}
	message := err.Error()
	if ce, ok := errors.AsType[*connect.Error](err); ok {
		message = ce.Message()
	}
	switch code := connect.CodeOf(err); {
	case errors.Is(err, syscall.ECONNREFUSED):
		return cli.Failed(fmt.Errorf("no collector answers at %s", a.url),
			"Start one with \"sudo spoor up\", or name another with --collector URL or SPOOR_COLLECTOR.")
	case code == connect.CodeUnauthenticated && !a.token:
		return cli.BadInput(fmt.Errorf("the collector at %s wants to know who asks", a.url), "Set SPOOR_TOKEN, or --token, to your token; \"spoor pki token\" makes one.")
	case code == connect.CodeUnauthenticated:
		return cli.BadInput(fmt.Errorf("the collector at %s does not know this token, or it has expired", a.url), "Look at SPOOR_TOKEN, or --token. Its operator can make another with \"spoor pki token\".")
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return cli.BadInput(fmt.Errorf("the certificate of the collector at %s is of an authority that is not trusted here", a.url), "Name that authority's certificate with --ca or SPOOR_CA.")
	case code == connect.CodePermissionDenied:
		return cli.BadInput(fmt.Errorf("the collector at %s refuses: %s", a.url, message),
			"A token proves who asks: SPOOR_TOKEN, or --token. What it may ask is for the collector's operator to say.")
	case strings.Contains(message, "server gave HTTP response to HTTPS client"):
		return cli.BadInput(fmt.Errorf("the collector at %s has no TLS", a.url), "Write http:// in --collector or SPOOR_COLLECTOR.")
	case strings.Contains(message, "HTTP request to an HTTPS server"), message == "400 Bad Request" && strings.HasPrefix(a.url, "http:"):
		return cli.BadInput(fmt.Errorf("what answers at %s wants TLS", a.url), "Write https:// in --collector or SPOOR_COLLECTOR, and name the authority with --ca or SPOOR_CA.")
	case code == connect.CodeUnavailable:
		return cli.Failed(fmt.Errorf("cannot reach the collector at %s: %s", a.url, message),
			"Check the address and the network, or name another collector with --collector URL or SPOOR_COLLECTOR.")
	case code == connect.CodeDeadlineExceeded:
		return cli.Failed(fmt.Errorf("the collector at %s did not answer within %s", a.url, a.timeout),
			"Ask for less (a shorter time, one workload), or wait longer with --timeout.")
	case code == connect.CodeInvalidArgument, code == connect.CodeNotFound, code == connect.CodeFailedPrecondition,
		code == connect.CodeAlreadyExists, code == connect.CodeOutOfRange, code == connect.CodeResourceExhausted:
		return cli.BadInput(errors.New(asTyped(message)), "")
	case code == connect.CodeUnknown, code == connect.CodeUnimplemented:
		return cli.Failed(fmt.Errorf("what answers at %s is not a collector of this version: %s", a.url, message),
			"Another program may hold the port. Name the collector with --collector URL or SPOOR_COLLECTOR.")
	default:
		return cli.Failed(fmt.Errorf("the collector at %s failed: %s", a.url, message), "")
	}
}

// asTyped leaves out which field of a request a collector complains about: people type flags.
func asTyped(message string) string {
	for _, field := range []string{"filter.workload", "filter.exec_id", "exec_id", "id", "workload"} {
		if rest, ok := strings.CutPrefix(message, field+": "); ok {
			return rest
		}
	}
	if rest, ok := strings.CutPrefix(message, "filter.address: "); ok {
		return "--address: " + rest
	}
	return message
}

// remark tells what is true about an answer besides the answer itself. It goes to standard error, so that what
// a pipe gets is nothing but the answer.
func remark(streams *cli.Streams, format string, args ...any) {
	fmt.Fprintf(streams.Err, format+"\n", args...)
}

// completeness remarks what could be missing from an answer.
func completeness(streams *cli.Streams, c *spoorv1.Completeness) {
	if c != nil && !c.GetComplete() {
		remark(streams, "%s", render.Gaps(c))
	}
}

// writeAll is what commands write whole answers with.
func writeAll[T any](w io.Writer, items []T, write func(io.Writer, T) error) error {
	for _, item := range items {
		if err := write(w, item); err != nil {
			return fmt.Errorf("write the answer: %w", err)
		}
	}
	return nil
}
