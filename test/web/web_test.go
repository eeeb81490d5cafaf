// SPDX-License-Identifier: Apache-2.0

// Package web_test opens the page in a real browser, against a real collector that got its events through
// AgentService.Ship, and uses it like somebody on call.
package web_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/prometheus/client_golang/prometheus"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/api/spoor/v1/spoorv1connect"
	"github.com/spoor/spoor/collector"
	"github.com/spoor/spoor/contract"
	"github.com/spoor/spoor/test/scene"
)

var screenshots = flag.String("screenshots", "", "folder for pictures of the page: light and dark, wide and narrow")

// patience is how long the page may take for anything: the machine may be busy.
const patience = 2 * time.Minute

// centre is a running collector with a story in it.
type centre struct {
	url   string
	start time.Time
	story *scene.Story
	query spoorv1connect.QueryServiceClient
	stop  func()
}

func startCentre(t *testing.T) *centre {
	t.Helper()
	registry := prometheus.NewRegistry()
	contracts, err := contract.Load(os.DirFS("testdata/contracts"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := collector.New(collector.Options{
		Listen: "127.0.0.1:0", DataDir: t.TempDir(), Contracts: contracts, Registerer: registry, Gatherer: registry, Version: "v0.0.0-test",
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := c.Run(ctx); err != nil {
			t.Errorf("the collector ended with: %v", err)
		}
	}()
	stop := func() { cancel(); <-ended }
	t.Cleanup(stop)
	start := time.Now().Add(-30 * time.Second)
	story := scene.LittleDay(start)
	url := "http://" + c.Addr().String()
	if err := scene.Ship(t.Context(), url, scene.Hello(start), story.Batch); err != nil {
		t.Fatal(err)
	}
	return &centre{url: url, start: start, story: story, query: spoorv1connect.NewQueryServiceClient(&http.Client{}, url), stop: stop}
}

// tell ships what fill adds to the story.
func (c *centre) tell(t *testing.T, fill func(*scene.Story)) {
	t.Helper()
	next := scene.NewStory(c.start, c.story.Batch.GetSequence()+1, c.story.LastEvent())
	fill(next)
	if err := scene.Ship(t.Context(), c.url, scene.Hello(c.start), next.Batch); err != nil {
		t.Fatal(err)
	}
	c.story = next
}

// tab is a browser with the page open. What the page logs, and whom it asks, is remembered.
type tab struct {
	*testing.T
	ctx context.Context
}

func openTab(t *testing.T, c *centre, width, height int64, scheme string) *tab {
	t.Helper()
	return openTabAt(t, c, "", width, height, scheme)
}

func openTabAt(t *testing.T, c *centre, fragment string, width, height int64, scheme string) *tab {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium(t)), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
	)
	allocator, closeAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, closeTab := chromedp.NewContext(allocator)
	watched := make(chan struct{})
	p := &tab{t, ctx}
	// The browser lives as long as the context of the first call.
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	p.do(chromedp.EmulateViewport(width, height), func(ctx context.Context, _ *chromedp.Target) (none chromedp.Void, err error) {
		_, err = chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return none, err
	})
	console, requests := chromedp.Console(ctx), chromedp.Events(ctx, network.RequestWillBeSent)
	go func() {
		defer close(watched)
		for m, err := range console {
			if err != nil {
				return
			}
			// A collector that goes away is part of one test.
			if !strings.Contains(m.Text, "ERR_CONNECTION_REFUSED") {
				t.Errorf("the page complains: %s", m)
			}
		}
	}()
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		for request, err := range requests {
			if err != nil {
				return
			}
			if !strings.HasPrefix(request.Request.URL, c.url+"/") {
				t.Errorf("the page asks somebody else: %s", request.Request.URL)
			}
		}
	}()
	t.Cleanup(func() {
		closeTab()
		closeAllocator()
		<-watched
		<-asked
	})
	p.do(chromedp.Navigate(c.url + "/" + fragment))
	return p
}

// chromium finds a browser; `make` installs one from the distribution's packages.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("no browser: install the package chromium")
	return ""
}

func (p *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.Fatal(err)
	}
}

func (p *tab) eval(expression string) string {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[[]byte](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.Fatalf("%s: %v", expression, err)
	}
	var text string
	if json.Unmarshal(v, &text) == nil {
		return text
	}
	return string(v)
}

// until waits for an expression to become true, also beyond the end of the page: a choice may load another.
func (p *tab) until(expression string) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	_, err := chromedp.Run(ctx, chromedp.Poll[bool](expression))
	for err != nil && ctx.Err() == nil && strings.Contains(err.Error(), "context") { // of JavaScript: that of the page that went
		time.Sleep(20 * time.Millisecond)
		_, err = chromedp.Run(ctx, chromedp.Poll[bool](expression))
	}
	if err != nil {
		p.Fatalf("the page never came to %s: %v\n%s", expression, err, p.eval("document.body.innerText"))
	}
}

// sees waits for text in an element.
func (p *tab) sees(selector, text string) {
	p.Helper()
	p.until(fmt.Sprintf("document.querySelector(%q)?.innerText.includes(%q)", selector, text))
}

func TestFirstView(t *testing.T) {
	c := startCentre(t)
	p := openTab(t, c, 1440, 900, "light")
	p.sees("#findings", "flow.egress")
	p.sees("#findings", "state.local")
	p.until(`document.title.startsWith("(")`)
	p.sees("#agents", "node-a")
	p.sees("#agents", "process base")
	p.sees("#link", "live")
	p.until(`/^[0-9.,]+ events\/s · /.test(document.querySelector("#rate").innerText)`)
	if got := p.eval(`import("/text.js").then(({ perSecond }) => [perSecond(null, { at: 5, count: 7 }), perSecond({ at: 0, count: 7 }, { at: 2000, count: 22 })].join(" "))`); got != "– 7.5" {
		t.Errorf("how many events a second is said as %q, before a second look and by two", got)
	}
	p.sees("#gaps", "The view is incomplete.")
	p.sees("#gaps", "12")
	p.sees("#events-list", "wrote /var/tmp/spoor-demo (0 B → 6 B)")
	p.sees("#edges", "web.service")
	p.until(`document.querySelectorAll("#graph svg .node").length >= 3`)
	p.until(`document.querySelectorAll("#graph svg path.edge.failed").length >= 1`)
	// The worst finding is open, with why, what to do and evidence.
	p.sees("#findings details[open]", "Why it matters")
	p.sees("#findings details[open]", "What to do")
	p.until(`document.querySelector("#findings details[open] .evidence .event") !== null`)
}

// A process may call itself anything: it stays text.
func TestHostileNamesStayText(t *testing.T) {
	p := openTab(t, startCentre(t), 1440, 900, "light")
	p.sees("#events-list", `\x1b[2J\x1b[31m<img s`)
	p.sees("#events-list", `\u202egpj`)
	p.do(chromedp.Click(`//div[@id="events-list"]//button[contains(., "<img s") and contains(., "[666]")]`))
	p.sees("#dialog", "killed by SIGKILL")
	if n := p.eval(`document.querySelectorAll("img, script:not([src])").length`); n != "0" {
		t.Errorf("%s elements were made of names", n)
	}
	if found := p.eval(`/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2066-\u2069]/.exec(document.body.innerText)?.[0] ?? ""`); found != "" {
		t.Errorf("%q is on the page unescaped", found)
	}
	if title := p.eval("document.title"); strings.Contains(title, "owned") {
		t.Error("a name ran as script")
	}
}

func TestAcknowledgeAndResolve(t *testing.T) {
	c := startCentre(t)
	p := openTab(t, c, 1440, 900, "light")
	p.sees("#findings", "flow.egress")
	p.sees("#findings", "state.local") // which comes later, and would be counted below
	open := func() int {
		answer, err := c.query.ListFindings(t.Context(), connect.NewRequest(&spoorv1.ListFindingsRequest{States: []spoorv1.FindingState{spoorv1.FindingState_FINDING_STATE_OPEN}}))
		if err != nil {
			t.Fatal(err)
		}
		return len(answer.Msg.GetFindings())
	}
	before := open()
	p.do(
		chromedp.SendKeys("#findings details[open] .answer input", "alice: on it"),
		chromedp.Click(`//details[@open]//button[text()="Acknowledge"]`),
	)
	p.sees("#findings", "alice: on it")
	p.sees("#findings", "acknowledged")
	if now := open(); now != before-1 {
		t.Errorf("%d findings are open after one of %d was acknowledged", now, before)
	}
	p.do(chromedp.Click(`//details[contains(@class, "acknowledged") and @open]//button[text()="Resolve"]`))
	p.until(`document.querySelector("#findings details.acknowledged") === null`)
	p.do(chromedp.Click("#findings-all"))
	p.until(`document.querySelector("#findings details.resolved") !== null`)
}

// Alerts link to their findings.
func TestLinkToAFinding(t *testing.T) {
	c := startCentre(t)
	var id string
	for deadline := time.Now().Add(patience); id == ""; time.Sleep(50 * time.Millisecond) {
		answer, err := c.query.ListFindings(t.Context(), connect.NewRequest(&spoorv1.ListFindingsRequest{Rule: "state.local"}))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range answer.Msg.GetFindings() {
			id = f.GetId()
		}
		if time.Now().After(deadline) {
			t.Fatal("no finding state.local")
		}
	}
	if _, err := c.query.UpdateFinding(t.Context(), connect.NewRequest(&spoorv1.UpdateFindingRequest{
		Id: id, State: spoorv1.FindingState_FINDING_STATE_RESOLVED,
	})); err != nil {
		t.Fatal(err)
	}
	p := openTabAt(t, c, "#finding="+id, 1440, 900, "light")
	p.sees("#findings details.resolved[open]", "/var/tmp/spoor-demo")
	p.until(`document.activeElement.matches("details.resolved[open] > summary")`)
}

func TestEventsAreLiveFilteredAndPaused(t *testing.T) {
	c := startCentre(t)
	p := openTab(t, c, 1440, 900, "light")
	p.sees("#events-list", "spoor-demo")
	later := func(path string) {
		c.tell(t, func(s *scene.Story) {
			session := s.Instance("Session", "uid-1000", "/user.slice/user-1000.slice/session-3.scope")
			s.Process(session, &spoorv1.Process{ExecId: scene.Bash, Tgid: 900, Comm: "bash", Exe: "/usr/bin/bash"})
			s.Tell(10*time.Second, scene.Bash, s.Write(10*time.Second, path, 77, 1))
		})
	}
	later("/home/alice/first")
	p.sees("#events-list", "/home/alice/first")

	p.do(chromedp.Click("#pause"))
	p.until(`document.querySelector("#pause").getAttribute("aria-pressed") === "true"`)
	later("/home/alice/second")
	p.do(chromedp.Click("#pause"))
	p.sees("#events-list", "/home/alice/second")

	p.do(chromedp.SendKeys("#path", "/var/tmp/"))
	p.until(`document.querySelectorAll("#events-list .row").length === 1`)
	p.sees("#events-list", "spoor-demo")
	p.until(`location.hash.includes("path=%2Fvar%2Ftmp%2F")`)
	// The address alone brings the filter back.
	p.do(chromedp.Reload())
	p.until(`document.querySelector("#path").value === "/var/tmp/" && document.querySelectorAll("#events-list .row").length === 1`)
	p.eval(`location.hash = "#kind=flow,listen,dns&workload=web.service"; ""`)
	p.until(`document.querySelectorAll("#events-list .row").length === 2`)
	p.sees("#events-list", "listens on tcp 0.0.0.0:8099")
	p.eval(`location.hash = "#workload=no.such.workload"; ""`)
	p.sees("#events-list", "No events match.")
}

func TestEverythingWorksByKeyboard(t *testing.T) {
	p := openTab(t, startCentre(t), 1440, 900, "light")
	p.eval(`location.hash = "#path=/var/tmp/"; ""`)
	p.until(`document.querySelectorAll("#events-list .row").length === 1`)
	p.do(chromedp.Focus("#events-list"), chromedp.KeyEvent(kb.ArrowDown))
	p.until(`document.querySelector("#events-list .row.active") !== null`)
	p.do(chromedp.KeyEvent(kb.Enter))
	p.sees("#dialog[open] .tree .asked", "sh[4242]")
	p.sees("#dialog[open] .tree", "systemd[1]")
	p.sees("#dialog[open] .tree", "exited 0")
	p.do(chromedp.KeyEvent(kb.Escape))
	p.until(`!document.querySelector("#dialog").open && document.activeElement.id === "events-list"`)
	p.do(chromedp.KeyEvent(" "))
	p.sees("#dialog[open] pre", `"path": "/var/tmp/spoor-demo"`)
	p.do(chromedp.KeyEvent(kb.Escape))

	unnamed := p.eval(`[...document.querySelectorAll("button, input, select, summary, [role=button]")].filter((e) =>
		!e.innerText?.trim() && !e.getAttribute("aria-label") && !e.labels?.length).map((e) => e.outerHTML).join("\n")`)
	if unnamed != "" {
		t.Errorf("a screen reader has no name for:\n%s", unnamed)
	}
}

// With as many events as the page keeps it stays quick, because it draws only those in view.
func TestTenThousandEvents(t *testing.T) {
	c := startCentre(t)
	p := openTab(t, c, 1440, 900, "light")
	p.sees("#events-list", "spoor-demo")
	p.eval(`window.slowest = 0; new PerformanceObserver((list) => {
		for (const e of list.getEntries()) window.slowest = Math.max(window.slowest, e.duration);
	}).observe({ type: "longtask" }); ""`)
	c.tell(t, func(s *scene.Story) { s.Crowd(10_500) })
	p.sees("#events-count", "10,000 events, the newest")
	p.until(`document.querySelector("#events-list").getAttribute("aria-rowcount") === "10000"`)
	for _, to := range []string{"110000", "219000", "0"} {
		p.eval(`document.querySelector("#events-list").scrollTop = ` + to + `; ""`)
		p.until(`document.querySelectorAll("#events-list .row").length > 10`)
		if n := p.eval(`document.querySelectorAll("#events-list .row").length < 120`); n != "true" {
			t.Error("the page draws rows that nobody sees")
		}
	}
	t.Logf("the longest task of the page took %s ms", p.eval("Math.round(window.slowest)"))
}

func TestCollectorThatGoesAwayIsSaid(t *testing.T) {
	c := startCentre(t)
	p := openTab(t, c, 1440, 900, "light")
	p.sees("#link", "live")
	p.sees("#events-list", "spoor-demo")
	c.stop()
	p.sees("#link", "no answer since")
	// What is known stays on the page.
	p.sees("#events-list", "spoor-demo")
}

// The page and the command line say the same of the same event, in two languages: the golden files of one are the
// expectation of the other.
func TestSentencesAreThoseOfTheCommandLine(t *testing.T) {
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join("../../cmd/spoor/internal/render/testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSuffix(string(data), "\n")
	}
	p := openTab(t, startCentre(t), 800, 600, "light")
	events := "[" + strings.ReplaceAll(read("events.json.golden"), "\n", ",") + "]"
	// The golden file has the names of the .proto files, an answer to the page their JSON names.
	got := p.eval(`import("/text.js").then((text) => {
		const camel = (v) => Array.isArray(v) ? v.map(camel) : v && typeof v === "object"
			? Object.fromEntries(Object.entries(v).map(([k, v]) => [k.replace(/_(.)/g, (_, c) => c.toUpperCase()), camel(v)])) : v;
		return camel(` + events + `).map(text.sentence).join("\n");
	})`)
	want, have := strings.Split(read("sentences.golden"), "\n"), strings.Split(got, "\n")
	for i := range want {
		if i >= len(have) || have[i] != want[i] {
			t.Errorf("event %d:\nthe page says         %s\nthe command line says %s", i, strings.Join(have[i:min(i+1, len(have))], ""), want[i])
		}
	}
}

func TestLayouts(t *testing.T) {
	c := startCentre(t)
	c.tell(t, func(s *scene.Story) { s.Crowd(400) })
	for _, view := range []struct {
		name          string
		width, height int64
		scheme        string
	}{{"wide-light", 1440, 900, "light"}, {"wide-dark", 1440, 900, "dark"}, {"huge-dark", 2200, 1200, "dark"}, {"narrow-light", 400, 860, "light"}, {"narrow-dark", 400, 860, "dark"}} {
		t.Run(view.name, func(t *testing.T) {
			p := openTab(t, c, view.width, view.height, view.scheme)
			p.sees("#findings", "flow.egress")
			p.sees("#events-list", "called")
			p.until(`document.querySelector("#graph svg") !== null && document.querySelector(".evidence .event") !== null`)
			if over := p.eval(`document.documentElement.scrollWidth - document.documentElement.clientWidth`); over != "0" {
				t.Errorf("the page is %s pixels wider than the window", over)
			}
			p.picture(view.name)
			p.eval(`scrollTo(0, document.querySelector("#edges").offsetTop - 60); ""`)
			p.picture(view.name + "-edges")
			p.do(chromedp.Click("#events-list .row .process button"))
			p.sees("#dialog[open] .tree", "systemd[1]")
			p.picture(view.name + "-tree")
		})
	}
}

func (p *tab) picture(name string) {
	p.Helper()
	if *screenshots == "" {
		return
	}
	png, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		p.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*screenshots, name+".png"), png, 0o644); err != nil {
		p.Fatal(err)
	}
}
