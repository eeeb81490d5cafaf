// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/time/rate"
)

// OIDCOptions of NewOIDC.
type OIDCOptions struct {
	// Issuer is the URL of the OpenID Connect provider, as it stands in its tokens: https, or http on this host.
	Issuer string
	// Audience is what tokens must be made for: the client id that the provider has for this collector.
	Audience string
	// GroupsClaim holds the groups of a person, a list or one: "groups".
	GroupsClaim string
	// NameClaim holds the name for the audit log: "email". A person without it, or whose email address nobody has verified, is named by
	// the subject.
	NameClaim string
	// Client asks the provider; nil is one with the system's authorities.
	Client *http.Client
}

// OIDC checks tokens of an OpenID Connect provider. It asks the provider when the first token comes, and for new keys when a token is
// signed by one that it does not know.
type OIDC struct {
	o      OIDCOptions
	client *http.Client

	mu       sync.Mutex
	verifier *oidc.IDTokenVerifier
	failed   error
	retry    time.Time
}

const (
	// How long the provider may take to answer, and is left alone when it does not.
	providerTimeout = 10 * time.Second
	providerPause   = 10 * time.Second
	// Anybody can bring tokens of unknown keys: the provider is asked once a second then, after some at once.
	providerBurst = 5
	// maxToken is far above what providers sign.
	maxToken = 64 << 10
)

// NewOIDC returns an OIDC that has yet to ask its provider.
func NewOIDC(o OIDCOptions) (*OIDC, error) {
	u, err := url.Parse(o.Issuer)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the issuer %q is no URL: %w", o.Issuer, err)
	case u.Host == "" || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("the issuer %q is no URL like https://id.example", o.Issuer)
	case u.Scheme != "https" && (u.Scheme != "http" || u.Hostname() != "127.0.0.1" && u.Hostname() != "::1" && u.Hostname() != "localhost"):
		return nil, fmt.Errorf("the issuer %s is not asked over https: whoever is between could name anybody", o.Issuer)
	case o.Audience == "":
		return nil, errors.New("the audience is missing: without it, tokens for any other service of the provider would be good here")
	}
	if o.GroupsClaim == "" {
		o.GroupsClaim = "groups"
	}
	if o.NameClaim == "" {
		o.NameClaim = "email"
	}
	client := &http.Client{Timeout: providerTimeout}
	if o.Client != nil {
		client.Transport = o.Client.Transport
	}
	client.Transport = &seldom{next: client.Transport, limit: rate.NewLimiter(1, providerBurst)}
	return &OIDC{o: o, client: client}, nil
}

// seldom bounds how often something is asked.
type seldom struct {
	next  http.RoundTripper // nil is the default
	limit *rate.Limiter
}

var errTooOften = errors.New("the provider is asked too often: tokens of unknown keys come one after the other")

func (s *seldom) RoundTrip(r *http.Request) (*http.Response, error) {
	if !s.limit.Allow() {
		return nil, errTooOften
	}
	next := s.next
	if next == nil {
		next = http.DefaultTransport
	}
	return next.RoundTrip(r)
}

// looksLikeOne: a token of a provider has three parts; those of "spoor pki token" have one.
func looksLikeOne(token string) bool { return strings.Count(token, ".") == 2 && len(token) <= maxToken }

// provider returns what tokens are checked by.
func (o *OIDC) provider(ctx context.Context) (*oidc.IDTokenVerifier, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.verifier != nil {
		return o.verifier, nil
	}
	if now := time.Now(); now.Before(o.retry) {
		return nil, o.failed
	}
	// It outlives the request, and so does what it reads keys with.
	p, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), o.client), o.o.Issuer)
	if err != nil {
		o.failed, o.retry = fmt.Errorf("the provider of tokens, %s, does not answer as it should: %w", o.o.Issuer, err), time.Now().Add(providerPause)
		return nil, o.failed
	}
	o.verifier = p.VerifierContext(oidc.ClientContext(context.WithoutCancel(ctx), o.client), &oidc.Config{ClientID: o.o.Audience})
	return o.verifier, nil
}

// bearer is who a token of the provider is of.
type bearer struct {
	name   string
	groups []string
}

// check returns who a token is of.
func (o *OIDC) check(ctx context.Context, token string) (*bearer, error) {
	verifier, err := o.provider(ctx)
	if err != nil {
		return nil, err
	}
	checked, err := verifier.Verify(ctx, token)
	if err != nil {
		return nil, err
	}
	claims := map[string]any{}
	if err := checked.Claims(&claims); err != nil {
		return nil, err
	}
	b := &bearer{name: checked.Subject}
	if name, ok := claims[o.o.NameClaim].(string); ok && name != "" && (o.o.NameClaim != "email" || claims["email_verified"] != false) {
		b.name = name
	}
	switch groups := claims[o.o.GroupsClaim].(type) {
	case string:
		b.groups = []string{groups}
	case []any:
		for _, g := range groups {
			if name, ok := g.(string); ok {
				b.groups = append(b.groups, name)
			}
		}
	}
	return b, nil
}
