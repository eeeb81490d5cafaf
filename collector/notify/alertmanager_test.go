// SPDX-License-Identifier: Apache-2.0

package notify_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/notify"
)

// posted is an alert as it arrives.
type posted struct {
	Labels, Annotations map[string]string
	StartsAt, EndsAt    time.Time
	GeneratorURL        string
}

// office answers like an Alertmanager and keeps what it got.
type office struct {
	*notify.Alertmanager
	got []posted
	// answer replaces the 200.
	answer http.HandlerFunc
}

func openOffice(t *testing.T) *office {
	t.Helper()
	o := &office{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if r.Method != http.MethodPost || r.URL.Path != "/prefix/api/v2/alerts" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s %s", r.Method, r.URL.Path, r.Header)
		}
		if user, password, _ := r.BasicAuth(); user != "spoor" || password != "hunter2" {
			t.Errorf("as %s with %s", user, password)
		}
		if o.answer != nil {
			o.answer(w, r)
			return
		}
		o.got = nil
		if err := json.Unmarshal(body, &o.got); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	am, err := notify.NewAlertmanager(notify.AlertmanagerOptions{
		URL: strings.Replace(server.URL, "://", "://spoor:hunter2@", 1) + "/prefix/", WebURL: "http://127.0.0.1:7070/",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(am.Close)
	o.Alertmanager = am
	return o
}

var (
	opened = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	now    = opened.Add(10 * time.Minute)
)

func alert(change func(*spoorv1.Finding)) *notify.Alert {
	f := finding("aa11223344", isOpen)
	f.FirstSeen, f.LastSeen, f.StateChanged = timestamppb.New(opened.Add(-time.Hour)), timestamppb.New(now), timestamppb.New(opened)
	f.Count = 3
	if change != nil {
		change(f)
	}
	return &notify.Alert{Finding: f, Time: now, Until: now.Add(4 * time.Minute)}
}

func (o *office) send(t *testing.T, alerts ...*notify.Alert) []posted {
	t.Helper()
	if err := o.Send(t.Context(), alerts); err != nil {
		t.Fatal(err)
	}
	return o.got
}

func TestAlertmanagerIsTold(t *testing.T) {
	o := openOffice(t)
	want := posted{
		Labels: map[string]string{
			"alertname": "state.local", "severity": "high", "cluster": "c1", "namespace": "shop", "workload_kind": "Deployment", "workload": "checkout",
			"team": "payments", "oncall": "payments-primary", "subject": "/var/lib/x", "fingerprint": "aa11223344" + strings.Repeat("0", 54),
		},
		Annotations: map[string]string{
			"summary": "checkout keeps /var/lib/x", "description": "It is lost at the next restart.\n\nMove it to a volume.",
			"evidence": "seen 3 times, first 2026-03-01 11:00:00 UTC, last 2026-03-01 12:10:00 UTC; events 4, 5",
			"contract": "shop/checkout", "state": "open",
		},
		StartsAt: opened, EndsAt: now.Add(4 * time.Minute), GeneratorURL: "http://127.0.0.1:7070/#finding=aa11223344",
	}
	a := alert(nil)
	if diff := cmp.Diff([]posted{want}, o.send(t, a)); diff != "" {
		t.Errorf("want - got +\n%s", diff)
	}
	// Later, acknowledged: the same labels, the same start.
	later := alert(func(f *spoorv1.Finding) {
		f.State, f.Note = spoorv1.FindingState_FINDING_STATE_ACKNOWLEDGED, "alice: on it"
		f.StateChanged = timestamppb.New(now)
		f.Completeness = &spoorv1.Completeness{Gaps: []string{"node a: one", "node b: two"}}
	})
	later.Memo = a.Memo
	got := o.send(t, later)
	want.Annotations["state"], want.Annotations["note"], want.Annotations["incomplete"] = "acknowledged", "alice: on it", "node a: one; node b: two"
	if diff := cmp.Diff([]posted{want}, got); diff != "" {
		t.Errorf("acknowledged: want - got +\n%s", diff)
	}
	// Resolved: it ends now.
	over := alert(func(f *spoorv1.Finding) {
		f.State, f.Severity = isResolved, spoorv1.Severity_SEVERITY_LOW
	})
	over.Memo, over.Resolved = later.Memo, true
	got = o.send(t, over)
	if len(got) != 1 || !got[0].EndsAt.Equal(now) || !got[0].StartsAt.Equal(opened) || !cmp.Equal(got[0].Labels, want.Labels) {
		t.Errorf("resolved: %+v", got)
	}
}

func TestAlertmanagerEndsWhatHasOtherLabels(t *testing.T) {
	o := openOffice(t)
	a := alert(nil)
	before := o.send(t, a)[0].Labels
	worse := alert(func(f *spoorv1.Finding) { f.Severity = spoorv1.Severity_SEVERITY_CRITICAL })
	worse.Memo = a.Memo
	got := o.send(t, worse)
	if len(got) != 2 || !cmp.Equal(got[0].Labels, before) || !got[0].EndsAt.Equal(now) || got[1].Labels["severity"] != "critical" || !got[1].EndsAt.Equal(worse.Until) {
		t.Fatalf("a finding that got worse: %+v", got)
	}
	again := alert(func(f *spoorv1.Finding) { f.Severity = spoorv1.Severity_SEVERITY_CRITICAL })
	again.Memo = worse.Memo
	if got := o.send(t, again); len(got) != 1 || got[0].Labels["severity"] != "critical" {
		t.Errorf("after that: %+v", got)
	}
}

// An attempt whose outcome was not known may have been heard: it is ended, too.
func TestAlertmanagerEndsWhatItMayHaveHeard(t *testing.T) {
	o := openOffice(t)
	a := alert(func(f *spoorv1.Finding) { f.State = isResolved })
	a.Resolved = true
	if got := o.send(t, a); len(got) != 1 || !got[0].EndsAt.Equal(now) || got[0].StartsAt.After(now) {
		t.Errorf("got %+v", got)
	}
}

func TestAlertmanagerLabels(t *testing.T) {
	o := openOffice(t)
	host := alert(func(f *spoorv1.Finding) {
		f.Workload = &spoorv1.Workload{Namespace: "node-a", Kind: "Unit", Name: "nginx.service"}
		f.Owner = nil
		f.Subject = "/tmp/\x1b[2J\u202e" + strings.Repeat("ü", 200)
		f.Title = "a\nb <!channel> <https://evil.example|c>"
		f.EvidenceIds = make([]uint64, 25)
		f.StateChanged = timestamppb.New(now.Add(time.Hour)) // the clock of a node
	})
	got := o.send(t, host)[0]
	if got.Labels["node"] != "node-a" || got.Annotations["summary"] != `a\nb \x3c!channel> \x3chttps://evil.example|c>` || !strings.HasSuffix(got.Annotations["evidence"], " and 5 more") {
		t.Errorf("got %+v", got)
	}
	if s := got.Labels["subject"]; !strings.HasPrefix(s, `/tmp/\x1b[2J\u202eüü`) || !strings.HasSuffix(s, "ü…") || len([]rune(s)) > 140 {
		t.Errorf("subject %q", s)
	}
	for _, name := range []string{"cluster", "team", "oncall"} {
		if _, there := got.Labels[name]; there {
			t.Errorf("label %s without a value", name)
		}
	}
	if got.StartsAt.After(now) {
		t.Errorf("it starts at %v, after its end when it is resolved", got.StartsAt)
	}
}

func TestAlertmanagerAnswers(t *testing.T) {
	o := openOffice(t)
	for _, c := range []struct {
		status  int
		header  [2]string
		body    string
		refused bool
		after   time.Duration
		words   string
	}{
		{status: 400, body: `"bad \u001b label"`, refused: true, words: `400 Bad Request: "bad \u001b label"`},
		{status: 413, refused: true},
		{status: 422, refused: true},
		{status: 401, words: "401 Unauthorized"},
		{status: 404, body: "page not found", words: "404 Not Found: page not found"},
		{status: 429, header: [2]string{"Retry-After", "7"}, after: 7 * time.Second},
		{status: 503, header: [2]string{"Retry-After", "soon"}},
		{status: 500},
		{status: 302, header: [2]string{"Location", "https://elsewhere.example/"}, words: "302 Found to https://elsewhere.example/: write the URL that it leads to"},
	} {
		o.answer = func(w http.ResponseWriter, _ *http.Request) {
			if c.header[0] != "" {
				w.Header().Set(c.header[0], c.header[1])
			}
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.body)
		}
		err := o.Send(t.Context(), []*notify.Alert{alert(nil)})
		if err == nil || errors.Is(err, notify.ErrRefused) != c.refused || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%d: %v, refused must be %v and the error say %q", c.status, err, c.refused, c.words)
			continue
		}
		after := time.Duration(0)
		if delayed, ok := errors.AsType[*notify.Delayed](err); ok {
			after = delayed.After
		}
		if after != c.after {
			t.Errorf("%d: again after %v, want %v", c.status, after, c.after)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error tells the password: %v", err)
		}
	}
}

func TestAlertmanagerOptions(t *testing.T) {
	for _, url := range []string{"", "127.0.0.1:9093", "ftp://x", "http://", "http://user:hunter2@[::1", "http://user:hunter2@/"} {
		_, err := notify.NewAlertmanager(notify.AlertmanagerOptions{URL: url})
		if err == nil || !strings.Contains(err.Error(), "write for example http://127.0.0.1:9093") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", url, err)
		}
	}
	if _, err := notify.NewAlertmanager(notify.AlertmanagerOptions{URL: "http://am", WebURL: "x"}); err == nil {
		t.Error("a web URL that is none is taken")
	}
}
