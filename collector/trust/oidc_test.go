// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// provider is an OpenID Connect provider as far as tokens are checked: discovery and keys.
type provider struct {
	*httptest.Server
	t *testing.T

	mu    sync.Mutex
	keys  map[string]*ecdsa.PrivateKey
	asked int
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{t: t, keys: map[string]*ecdsa.PrivateKey{}}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(v); err != nil {
			t.Error(err)
		}
	}
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{
			"issuer": p.URL, "authorization_endpoint": p.URL + "/auth", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
			"id_token_signing_alg_values_supported": []string{"ES256"},
		})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.asked++
		set := jose.JSONWebKeySet{}
		for id, key := range p.keys {
			set.Keys = append(set.Keys, jose.JSONWebKey{Key: key.Public(), KeyID: id, Algorithm: "ES256", Use: "sig"})
		}
		answer(w, set)
	})
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	p.rotate("first")
	return p
}

// rotate makes a key the only one.
func (p *provider) rotate(id string) {
	p.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = map[string]*ecdsa.PrivateKey{id: key}
}

// token signs claims: those of ann, who is of sre, for this collector, with some changed; nil takes one out.
func (p *provider) token(changes map[string]any) string {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, key := range p.keys {
		return sign(p.t, p.URL, id, key, changes)
	}
	p.t.Fatal("there is no key")
	return ""
}

func sign(t *testing.T, issuer, id string, key *ecdsa.PrivateKey, changes map[string]any) string {
	t.Helper()
	claims := map[string]any{
		"iss": issuer, "aud": "spoor", "sub": "1234", "email": "ann@example.com", "groups": []string{"staff", "sre"},
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
	}
	for name, value := range changes {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: id}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// guarded answers with who asks, and what he may.
func guarded(t *testing.T, issuer, file string) func(token string) (code int, body string) {
	t.Helper()
	o, err := NewOIDC(OIDCOptions{Issuer: issuer, Audience: "spoor"})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "people.yaml")
	write(t, name, file)
	people, err := LoadPeople(name, o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	handler := people.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := PersonOf(r.Context())
		fmt.Fprintf(w, "%s %s %v", p.Name, p.Role, p.Clusters)
	}), func() {})
	return func(token string) (int, string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Code, strings.TrimSpace(w.Body.String())
	}
}

const withGroups = `
- {group: sre, role: responder, clusters: [prod]}
- {group: staff, role: viewer}
- {name: script, role: viewer, token: "%s"}
`

func TestOIDC(t *testing.T) {
	p := newProvider(t)
	ask := guarded(t, p.URL, fmt.Sprintf(withGroups, Digest("of-script")))
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	unsigned := strings.Split(p.token(nil), ".")
	for _, test := range []struct {
		what, token string
		code        int
		body        string // or a part of it
	}{
		{"of a group", p.token(nil), 200, "ann@example.com responder [prod]"},
		{"of another group", p.token(map[string]any{"groups": []string{"staff"}}), 200, "ann@example.com viewer []"},
		{"with one group that is no list", p.token(map[string]any{"groups": "staff"}), 200, "ann@example.com viewer []"},
		{"without an address", p.token(map[string]any{"email": nil}), 200, "1234 responder [prod]"},
		{"with an address that nobody verified", p.token(map[string]any{"email_verified": false}), 200, "1234 responder [prod]"},
		{"for several", p.token(map[string]any{"aud": []string{"other", "spoor"}}), 200, "ann@example.com responder [prod]"},
		{"of the file", "of-script", 200, "script viewer []"},
		{"of no group", p.token(map[string]any{"groups": nil}), 403, "ann@example.com: none of your groups"},
		{"of groups that are none", p.token(map[string]any{"groups": map[string]any{"sre": true}}), 403, "none of your groups"},
		{"for another service", p.token(map[string]any{"aud": "other"}), 401, "audience"},
		{"of another provider", p.token(map[string]any{"iss": "https://elsewhere.example"}), 401, "issued by a different provider"},
		{"that has expired", p.token(map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}), 401, "expired"},
		{"that begins later", p.token(map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}), 401, "nbf"},
		{"signed by somebody else", sign(t, p.URL, "first", stranger, nil), 401, "not known here"},
		{"without a signature", unsigned[0] + "." + unsigned[1] + ".", 401, "not known here"},
		{"that is none", "a.b.c", 401, "not known here"},
		{"that is far too long", strings.Repeat("a", maxToken) + ".b.c", 401, "not known here"},
	} {
		if code, body := ask(test.token); code != test.code || !strings.Contains(body, test.body) {
			t.Errorf("a token %s: %d %s, want %d %s", test.what, code, body, test.code, test.body)
		}
	}
	// Keys that are renewed are asked for, but not as often as somebody likes.
	p.rotate("second")
	if code, body := ask(p.token(nil)); code != http.StatusOK {
		t.Errorf("after the key was renewed: %d %s", code, body)
	}
	before := p.asked
	for i := range 100 {
		if code, _ := ask(sign(t, p.URL, fmt.Sprint(i), stranger, nil)); code != http.StatusUnauthorized {
			t.Errorf("a token of an unknown key: %d", code)
		}
	}
	if n := p.asked - before; n > 20 {
		t.Errorf("100 tokens of unknown keys made %d questions to the provider", n)
	}
}

func TestOIDCWithoutItsProvider(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	ask := guarded(t, gone.URL, fmt.Sprintf(withGroups, Digest("of-script")))
	if code, body := ask("a.b.c"); code != http.StatusUnauthorized || !strings.Contains(body, "does not answer") {
		t.Errorf("without the provider: %d %s", code, body)
	}
	if code, body := ask("of-script"); code != http.StatusOK {
		t.Errorf("a token of the file, without the provider: %d %s", code, body)
	}
}

func TestOIDCOptions(t *testing.T) {
	for _, test := range []struct{ issuer, audience, problem string }{
		{"https://id.example", "", "audience"},
		{"http://id.example", "spoor", "https"},
		{"id.example", "spoor", "no URL"},
		{"https://id.example?x=y", "spoor", "no URL"},
		{"https://id.example/realms/a", "spoor", ""},
		{"http://localhost:8080", "spoor", ""},
	} {
		_, err := NewOIDC(OIDCOptions{Issuer: test.issuer, Audience: test.audience})
		if (err == nil) != (test.problem == "") || err != nil && !strings.Contains(err.Error(), test.problem) {
			t.Errorf("the issuer %q and the audience %q: %v, want %q", test.issuer, test.audience, err, test.problem)
		}
	}
}

func TestGroupsNeedAProvider(t *testing.T) {
	name := filepath.Join(t.TempDir(), "people.yaml")
	o, err := NewOIDC(OIDCOptions{Issuer: "https://id.example", Audience: "spoor"})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		file    string
		oidc    *OIDC
		problem string
	}{
		{"[{group: sre, role: viewer}]", nil, "provider"},
		{"[]", o, "no group"},
		{"[{group: sre, role: viewer, token: x}]", o, "no token"},
		{"[{group: sre, name: ann, role: viewer}]", o, "write two"},
		{"[{group: sre, role: king}]", o, "no role"},
		{"[{group: sre, role: viewer}]", o, ""},
	} {
		write(t, name, test.file)
		_, err := LoadPeople(name, test.oidc, slog.New(slog.DiscardHandler))
		if (err == nil) != (test.problem == "") || err != nil && !strings.Contains(err.Error(), test.problem) {
			t.Errorf("%s: %v, want %q", test.file, err, test.problem)
		}
	}
}
