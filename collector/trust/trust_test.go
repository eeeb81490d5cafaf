// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

func certificate(until time.Time, uris ...*url.URL) *x509.Certificate {
	return &x509.Certificate{NotAfter: until, URIs: uris}
}

func TestAgent(t *testing.T) {
	hour := time.Now().Add(time.Hour)
	id := spoorv1.AgentID{Trust: "spoor", Cluster: "prod", Node: "a"}.URI()
	for _, test := range []struct {
		what          string
		cert          *x509.Certificate
		cluster, node string
		code          connect.Code // 0: it is let in
	}{
		{"says the same", certificate(hour, id), "prod", "a", 0},
		{"says nothing", certificate(hour, id), "", "", 0},
		{"says another node", certificate(hour, id), "prod", "b", connect.CodeUnknown},
		{"says another cluster", certificate(hour, id), "test", "a", connect.CodeUnknown},
		{"has none", nil, "prod", "a", connect.CodeUnauthenticated},
		{"has expired", certificate(time.Now().Add(-time.Second), id), "prod", "a", connect.CodeUnauthenticated},
		{"has no name", certificate(hour), "prod", "a", connect.CodeUnknown},
		{"has two names", certificate(hour, id, id), "prod", "a", connect.CodeUnknown},
	} {
		cluster, node, err := Agent(test.cert, &spoorv1.Hello{Cluster: test.cluster, Node: test.node}, nil)
		switch {
		case test.code == 0:
			if err != nil || cluster != "prod" || node != "a" {
				t.Errorf("who %s is %s/%s (%v), want prod/a", test.what, cluster, node, err)
			}
		case err == nil || connect.CodeOf(err) != test.code:
			t.Errorf("who %s gets %v, want the code %v", test.what, err, test.code)
		}
	}
}

func TestForwarder(t *testing.T) {
	hour := time.Now().Add(time.Hour)
	allowed := map[string][]string{"eu": {"prod", ""}}
	named := func(name string) *url.URL {
		u, err := ForwarderURI("spoor", name)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	for _, test := range []struct {
		what          string
		cert          *x509.Certificate
		cluster, node string
		ok            bool
	}{
		{"speaks for a cluster of its own", certificate(hour, named("eu")), "prod", "a", true},
		{"speaks for hosts outside of clusters", certificate(hour, named("eu")), "", "b", true},
		{"speaks for another cluster", certificate(hour, named("eu")), "test", "a", false},
		{"is not known", certificate(hour, named("us")), "prod", "a", false},
		{"has expired", certificate(time.Now().Add(-time.Second), named("eu")), "prod", "a", false},
		{"has another name beside it", certificate(hour, named("eu"), spoorv1.AgentID{Trust: "spoor", Node: "a"}.URI()), "prod", "a", false},
		{"has a query in its name", certificate(hour, &url.URL{Scheme: "spiffe", Host: "spoor", Path: "/forwarder/eu", RawQuery: "x"}), "prod", "a", false},
		{"has no name", certificate(hour, &url.URL{Scheme: "spiffe", Host: "spoor", Path: "/forwarder/"}), "prod", "a", false},
	} {
		cluster, node, err := Agent(test.cert, &spoorv1.Hello{Cluster: test.cluster, Node: test.node}, allowed)
		if test.ok != (err == nil) || test.ok && (cluster != test.cluster || node != test.node) {
			t.Errorf("who %s is %s/%s (%v)", test.what, cluster, node, err)
		}
	}
	if _, err := ForwarderURI("spoor", "a/b"); err == nil {
		t.Error("a name with a slash was taken")
	}
}

const people = `
- {name: ann, role: viewer, token: "%s"}
- {name: bob, role: responder, clusters: [prod], token: "%s"}
- {name: eve, role: admin, token: "%s"}
`

func load(t *testing.T) (file string, p *People) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "people.yaml")
	write(t, file, fmt.Sprintf(people, Digest("of-ann"), Digest("of-bob"), Digest("of-eve")))
	p, err := LoadPeople(file, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	p.every = 0
	return file, p
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestGuard(t *testing.T) {
	file, p := load(t)
	refused := 0
	guarded := p.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, PersonOf(r.Context()).Name)
	}), func() { refused++ })
	ask := func(set func(*http.Request)) (int, string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		set(r)
		w := httptest.NewRecorder()
		guarded.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	bearer := func(t string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+t) }
	}
	for _, test := range []struct {
		what string
		set  func(*http.Request)
		code int
		name string
	}{
		{"a token", bearer("of-ann"), http.StatusOK, "ann"},
		{"a password", func(r *http.Request) { r.SetBasicAuth("anything", "of-bob") }, http.StatusOK, "bob"},
		{"nothing", func(*http.Request) {}, http.StatusUnauthorized, ""},
		{"an unknown token", bearer("of-me"), http.StatusUnauthorized, ""},
		{"an empty token", bearer(""), http.StatusUnauthorized, ""},
		{"a digest", bearer(Digest("of-ann")), http.StatusUnauthorized, ""},
	} {
		if code, body := ask(test.set); code != test.code || test.name != "" && body != test.name {
			t.Errorf("with %s: %d %s, want %d %s", test.what, code, body, test.code, test.name)
		}
	}
	if refused != 4 {
		t.Errorf("%d refusals were counted, want 4", refused)
	}
	// It is read again; half of a file leaves what was.
	write(t, file, "- {name: ann, role")
	if code, _ := ask(bearer("of-ann")); code != http.StatusOK {
		t.Errorf("after the file was damaged ann gets %d", code)
	}
	write(t, file, fmt.Sprintf(`[{name: joe, role: viewer, token: "%s"}]`, Digest("of-joe")))
	if code, _ := ask(bearer("of-ann")); code != http.StatusUnauthorized {
		t.Errorf("after she was taken out ann gets %d", code)
	}
	if code, body := ask(bearer("of-joe")); code != http.StatusOK || body != "joe" {
		t.Errorf("after he was put in joe gets %d %s", code, body)
	}
}

func TestNobodyIsKnown(t *testing.T) {
	w := httptest.NewRecorder()
	(*People)(nil).Guard(http.NotFoundHandler(), func() {}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "--people") {
		t.Errorf("without people: %d %s", w.Code, w.Body)
	}
}

func TestPeopleThatAreRefused(t *testing.T) {
	digest := Digest("x")
	for problem, content := range map[string]string{
		"has no name":       `[{role: viewer, token: "` + digest + `"}]`,
		"is no role":        `[{name: a, role: root, token: "` + digest + `"}]`,
		"spoor pki token":   `[{name: a, role: viewer, token: secret}]`,
		"has the token of":  `[{name: a, role: viewer, token: "` + digest + `"}, {name: b, role: admin, token: "` + digest + `"}]`,
		"clusters are none": `[{name: a, role: viewer, clusters: [], token: "` + digest + `"}]`,
		"are names":         `[{name: a, role: viewer, clusters: ["*"], token: "` + digest + `"}]`,
		"unknown field":     `[{name: a, roles: viewer, token: "` + digest + `"}]`,
	} {
		if _, err := parsePeople([]byte(content)); err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("%s: %v, want %q", content, err, problem)
		}
	}
}

func TestHosts(t *testing.T) {
	h := Hosts([]string{"spoor.example"}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), func() {})
	for host, want := range map[string]int{
		"127.0.0.1:7070": 200, "[::1]:7070": 200, "::1": 200, "localhost:7070": 200, "LOCALHOST.": 200, "10.0.0.7": 200, "spoor.example": 200, "Spoor.Example:1": 200,
		"evil.example": 403, "127.0.0.1.evil.example:7070": 403, "localhost.evil.example": 403, "": 403,
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = host
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != want {
			t.Errorf("under %q: %d, want %d", host, w.Code, want)
		}
	}
}

var (
	viewer    = &Person{Name: "ann", Role: Viewer}
	responder = &Person{Name: "bob", Role: Responder, Clusters: []string{"prod"}}
	two       = &Person{Name: "joe", Role: Admin, Clusters: []string{"prod", "test"}}
	admin     = &Person{Name: "eve", Role: Admin}
)

func TestNarrow(t *testing.T) {
	for _, test := range []struct {
		p          *Person
		asks, gets string // "": refused
		cluster    string
	}{
		{viewer, "web", "web", ""},
		{responder, "", "prod/*/*/*", ""},
		{responder, "web", "prod/*/*/web", ""},
		{responder, "shop/Deployment/web", "prod/shop/Deployment/web", ""},
		{responder, "prod/shop/Deployment/*", "prod/shop/Deployment/*", ""},
		{responder, "test/shop/Deployment/web", "", ""},
		{responder, "p*/shop/Deployment/web", "", ""},
		{responder, "/shop/Deployment/web", "", ""},
		{two, "", "", ""},
		{two, "test/*/*/*", "test/*/*/*", ""},
		{viewer, "", "", "prod"}, // the service narrows it
		{responder, "web", "prod/*/*/web", "prod"},
		{responder, "web", "prod/*/*/web", "*"},
		{responder, "", "", "test"},
		{responder, "", "", "pr*"},
		{two, "web", "test/*/*/web", "test"},
		{two, "", "", "live"},
	} {
		got, err := test.p.narrow(test.asks, test.cluster)
		if (err != nil) != (test.gets == "" && test.p.Clusters != nil) || err == nil && got != test.gets {
			t.Errorf("%s asks about %q and gets %q (%v), want %q", test.p.Name, test.asks, got, err, test.gets)
		}
	}
}

// service answers as if it had a finding and a process of each cluster.
func service(ctx context.Context, p *Person, request any) (any, error) {
	i := &Interceptor{Audit: slog.New(slog.DiscardHandler), Finding: func(_ context.Context, id string) (*spoorv1.Finding, error) {
		return &spoorv1.Finding{Workload: &spoorv1.Workload{Cluster: id}}, nil
	}}
	if err := i.restrict(ctx, p, request); err != nil {
		return nil, err
	}
	var response any
	switch r := request.(type) {
	case *spoorv1.GetFindingRequest:
		response = &spoorv1.GetFindingResponse{Finding: &spoorv1.Finding{Workload: &spoorv1.Workload{Cluster: r.GetId()}}}
	case *spoorv1.GetTreeRequest:
		response = &spoorv1.GetTreeResponse{Nodes: []*spoorv1.TreeNode{{Instance: &spoorv1.Instance{Workload: &spoorv1.Workload{Cluster: r.GetExecId()}}}}}
	}
	return response, p.withhold(response)
}

func TestWhatEachMayDo(t *testing.T) {
	const ok = connect.Code(0)
	for _, test := range []struct {
		p       *Person
		request any
		want    connect.Code
	}{
		{viewer, &spoorv1.ListEventsRequest{}, ok},
		{viewer, &spoorv1.FollowEventsRequest{}, ok},
		{viewer, &spoorv1.GetStatusRequest{}, ok},
		{viewer, &spoorv1.UpdateFindingRequest{Id: "prod"}, connect.CodePermissionDenied},
		{viewer, &spoorv1.RunSQLRequest{}, connect.CodePermissionDenied},
		{responder, &spoorv1.UpdateFindingRequest{Id: "prod"}, ok},
		{responder, &spoorv1.UpdateFindingRequest{Id: "test"}, connect.CodeNotFound},
		{responder, &spoorv1.GetFindingRequest{Id: "prod"}, ok},
		{responder, &spoorv1.GetFindingRequest{Id: "test"}, connect.CodeNotFound},
		{responder, &spoorv1.GetTreeRequest{ExecId: "prod"}, ok},
		{responder, &spoorv1.GetTreeRequest{ExecId: "test"}, connect.CodeNotFound},
		{responder, &spoorv1.RunSQLRequest{}, connect.CodePermissionDenied},
		{two, &spoorv1.RunSQLRequest{}, connect.CodePermissionDenied},
		{admin, &spoorv1.RunSQLRequest{}, ok},
		{admin, &spoorv1.UpdateFindingRequest{Id: "test"}, ok},
		{admin, &spoorv1.Hello{}, connect.CodePermissionDenied}, // whatever is new is refused until somebody has thought about it
	} {
		_, err := service(t.Context(), test.p, test.request)
		if got := connect.CodeOf(err); err != nil && got != test.want || err == nil && test.want != ok {
			t.Errorf("%s, %T %v: %v, want %v", test.p.Name, test.request, test.request, err, test.want)
		}
	}
}

func TestStatusOfOtherClustersIsWithheld(t *testing.T) {
	r := &spoorv1.GetStatusResponse{
		Agents:       []*spoorv1.AgentStatus{{Cluster: "prod", Node: "a"}, {Cluster: "test", Node: "b"}},
		Completeness: &spoorv1.Completeness{Gaps: []string{"test/b: its agent has been silent"}},
	}
	if err := responder.withhold(r); err != nil {
		t.Fatal(err)
	}
	if len(r.GetAgents()) != 1 || strings.Contains(fmt.Sprint(r), "test") {
		t.Errorf("%v is told", r)
	}
}

// TestAudit: a line says who asked what and what came of it, whether he was let or not.
func TestAudit(t *testing.T) {
	var text bytes.Buffer
	i := &Interceptor{Audit: slog.New(slog.NewTextHandler(&text, nil))}
	ask := i.WrapUnary(func(context.Context, connect.AnyRequest) (connect.AnyResponse, error) {
		return nil, connect.NewError(connect.CodeNotFound, errors.New("none"))
	})
	ctx := context.WithValue(t.Context(), personKey{}, viewer)
	_, _ = ask(ctx, connect.NewRequest(&spoorv1.GetFindingRequest{Id: "f00"}))
	_, _ = ask(ctx, connect.NewRequest(&spoorv1.RunSQLRequest{Query: "SELECT 1"}))
	_, _ = ask(t.Context(), connect.NewRequest(&spoorv1.GetFindingRequest{Id: strings.Repeat("x", 10_000)}))
	lines := strings.Split(strings.TrimSpace(text.String()), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d lines for 3 questions:\n%s", len(lines), &text)
	}
	for n, parts := range [][]string{
		{"who=ann", "role=viewer", "f00", "outcome=not_found"},
		{"who=ann", "SELECT 1", "outcome=permission_denied"},
		{"who=anybody", "xxxx", "outcome=not_found"},
	} {
		for _, part := range parts {
			if !strings.Contains(lines[n], part) {
				t.Errorf("line %d does not say %s: %s", n+1, part, lines[n])
			}
		}
	}
	if len(lines[2]) > 2*maxQuestion {
		t.Errorf("a question of 10,000 bytes makes a line of %d", len(lines[2]))
	}
}
