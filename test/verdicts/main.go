// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/spoor/spoor/contract"
)

const (
	// root is on the node's own disk, where services of a host keep what they keep.
	root = "/var/lib/spoor-verdicts"
	// firstPort is that of the first program; scans are far above the last.
	firstPort = 21000
	// together is how many programs live at a time, beside those that last.
	together = 4
	// attention is how long the lasting ones run at least: the agent looks for shared memory and sockets every 30 s, and the graph of
	// services is looked at a minute after its last news.
	attention = 100 * time.Second
	// calm is how long everything is left alone before the findings are read: a file must settle (30 s), scratch become too old.
	calm = 50 * time.Second
)

func main() {
	os.Exit(start())
}

func start() int {
	if len(os.Args) > 1 && os.Args[1] == apartRole {
		fmt.Fprintln(os.Stderr, "verdicts:", runApart(os.Args[2:]))
		return 3
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o := options{out: os.Stdout}
	flag.StringVar(&o.spoor, "spoor", "bin/spoor", "the program under test")
	flag.StringVar(&o.store, "store", "build/verdict-store", "the program of ./test/verdicts/store")
	flag.StringVar(&o.only, "only", "", "run only these programs, separated by commas (blind for the agent that is made blind), and write no table")
	flag.StringVar(&o.page, "out", "docs/verdicts.md", "where the table goes")
	flag.DurationVar(&o.host, "host", 0, "watch a host as it is installed for so long, and for a third of that by what was learned, instead of running programs with known answers")
	flag.Parse()
	what := run
	if o.host > 0 {
		what = runHost
	}
	wrong, err := what(ctx, &o)
	switch {
	case err != nil:
		o.say("verdicts: %v\n", err)
		return 3
	case wrong > 0:
		return 1
	}
	return 0
}

type options struct {
	spoor, store, only, page string
	host                     time.Duration
	out                      io.Writer
}

// say writes to whoever waits; that nobody reads it is no reason to stop.
func (o *options) say(format string, args ...any) { _, _ = fmt.Fprintf(o.out, format, args...) }

// world is everything that is needed beside the programs.
type world struct {
	stages   []*stage
	upstream *httptest.Server
	trouble  sync.Map // by name of the program
}

func run(ctx context.Context, o *options) (wrong int, err error) {
	answers, err := readAnswers(answersFile)
	if err != nil {
		return 0, err
	}
	if os.Geteuid() != 0 {
		return 0, errors.New("only root can watch a host and make units")
	}
	w, err := o.build()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, w.remove(o.only == "")) }()
	begun := time.Now()
	judged, err := w.judged(ctx, o, answers)
	if err != nil {
		return 0, err
	}
	for i := range judged {
		if v := &judged[i]; !v.right() {
			wrong++
			o.say("WRONG %-20s want %v, got %v %v\n", v.name, v.answer.Rules, v.rules, v.trouble)
			for _, t := range v.told {
				o.say("      %s (%s) %s\n", t.rule, t.severity, t.subject)
			}
		}
	}
	o.say("%d of %d verdicts are right, in %s\n", len(judged)-wrong, len(judged), time.Since(begun).Round(time.Second))
	quiet, err := w.quiet(ctx, o)
	if err != nil {
		return wrong, err
	}
	o.say("%s\n", quiet)
	wrong += quiet.findings
	if o.only != "" {
		return wrong, nil
	}
	older, err := os.ReadFile(o.page)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return wrong, err
	}
	return wrong, os.WriteFile(o.page, keepHost(table(judged, quiet), older), 0o644)
}

func runHost(ctx context.Context, o *options) (wrong int, err error) {
	if os.Geteuid() != 0 {
		return 0, errors.New("only root can watch a host and make units")
	}
	page, err := os.ReadFile(o.page)
	if err != nil {
		return 0, err
	}
	watches, err := watchHost(ctx, o, o.host)
	if err != nil {
		return 0, err
	}
	for i := range watches {
		w := &watches[i]
		o.say("%s: %s, %d events, %d findings, %d alerts\n", w.what, w.length, w.events, w.findings, w.alerts)
		for _, t := range w.told {
			o.say("      %s\n", t)
		}
		wrong += w.findings + w.alerts
	}
	return wrong, os.WriteFile(o.page, replaceHost(page, hostSection(watches)), 0o644)
}

func (o *options) build() (*world, error) {
	w := &world{}
	all := programs()
	ports := map[string]int{}
	for i, p := range all {
		ports[p.name] = firstPort + i
	}
	store, err := filepath.Abs(o.store)
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{root, sockets, journal, common} {
		if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
			return nil, err
		}
	}
	w.upstream = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(rw, page)
	}))
	only := strings.Split(o.only, ",")
	for i := range all {
		p := &all[i]
		if o.only != "" && !slices.Contains(only, p.name) && !p.helper {
			continue
		}
		w.stages = append(w.stages, &stage{
			program: p, dir: filepath.Join(root, p.name), port: ports[p.name], ports: ports, upstream: w.upstream.URL + "/", store: store,
		})
	}
	return w, w.contracts()
}

// contracts writes what is agreed about each program, and checks that it can be read.
func (w *world) contracts() error {
	dir := filepath.Join(root, "contracts")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, s := range w.stages {
		text := s.document()
		if text == "" {
			continue
		}
		if _, err := contract.Parse(s.name, []byte(text)); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, s.name+".yaml"), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) remove(all bool) error {
	w.upstream.Close()
	var errs []error
	for _, s := range w.stages {
		if s.log != nil {
			errs = append(errs, s.log.Close())
		}
	}
	if all {
		errs = append(errs, os.RemoveAll(root))
	}
	scratch, err := filepath.Glob("/tmp/spoor-verdict-*")
	for _, path := range slices.Concat(scratch, []string{sockets, journal, "/dev/shm/verdict-ring"}) {
		err = errors.Join(err, os.RemoveAll(path))
	}
	return errors.Join(append(errs, err)...)
}

// judged lets all programs live under contracts, and compares.
func (w *world) judged(ctx context.Context, o *options, answers map[string]answer) (_ []verdict, err error) {
	up, err := startSpoor(ctx, o.spoor, "--data", filepath.Join(root, "data-judged"), "--contracts", filepath.Join(root, "contracts"), "--node", nodeName, "--without", "dns")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, up.stop()) }()
	var blind []verdict
	var beside errgroup.Group
	if o.only == "" || strings.Contains(o.only, "blind") {
		beside.Go(func() (err error) {
			blind, err = w.blind(ctx, o, answers)
			return err
		})
	}
	if err := errors.Join(w.play(ctx, 2, true), beside.Wait()); err != nil {
		return nil, err
	}
	findings, err := up.findings(ctx)
	if err != nil {
		return nil, err
	}
	var all []verdict
	for _, s := range w.stages {
		if s.helper {
			continue
		}
		a, ok := answers[s.name]
		if !ok {
			return nil, fmt.Errorf("answers.yaml says nothing of %s", s.name)
		}
		v := judge(s.name, a, findings[s.unit()])
		if trouble, ok := w.trouble.Load(s.name); ok {
			v.trouble, _ = trouble.(error)
		}
		all = append(all, v)
	}
	// How much was gone before it was looked at depends on what else the machine does.
	about := slices.DeleteFunc(findings[nodeName], func(t told) bool { return t.rule == contract.RuleBlindLoss && t.severity == "info" })
	return append(append(all, judge("node", answers["node"], about)), blind...), nil
}

// quietRun is what was said of a host for which nobody wrote contracts.
type quietRun struct {
	took               time.Duration
	programs, findings int
	events             uint64
}

func (q quietRun) String() string {
	return fmt.Sprintf("without contracts: %d programs in %s, %d events, %d findings", q.programs, q.took.Round(time.Second), q.events, q.findings)
}

// quiet lets all programs live once while nobody has written a contract.
func (w *world) quiet(ctx context.Context, o *options) (q quietRun, err error) {
	up, err := startSpoor(ctx, o.spoor, "--data", filepath.Join(root, "data-quiet"), "--node", nodeName)
	if err != nil {
		return q, err
	}
	defer func() { err = errors.Join(err, up.stop()) }()
	begun := time.Now()
	if err := w.play(ctx, 1, false); err != nil {
		return q, err
	}
	findings, err := up.findings(ctx)
	if err != nil {
		return q, err
	}
	for _, f := range findings {
		q.findings += len(f)
	}
	q.took, q.programs = time.Since(begun), len(w.stages)
	q.events, err = up.events(ctx)
	return q, err
}

// play runs every program: those that last from the beginning to the end, the others a few at a time.
func (w *world) play(ctx context.Context, lives int, first bool) error {
	begun := time.Now()
	var lasting []*life
	defer func() {
		for _, l := range lasting {
			_ = l.end(ctx)
		}
	}()
	fail := func(s *stage, err error) {
		if err != nil {
			w.trouble.Store(s.name, fmt.Errorf("%w (its output: %s.out)", err, s.dir))
		}
	}
	for _, s := range w.stages {
		if first {
			if err := s.prepare(ctx); err != nil {
				return fmt.Errorf("prepare %s: %w", s.name, err)
			}
		}
		if s.lasting {
			l, err := s.begin(ctx)
			if fail(s, err); err == nil {
				lasting = append(lasting, l)
			}
		}
	}
	var group errgroup.Group
	group.SetLimit(together)
	for _, s := range w.stages {
		if !s.lasting {
			group.Go(func() error {
				fail(s, s.live(ctx, lives))
				return ctx.Err()
			})
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if !first {
		return nil
	}
	return rest(ctx, max(calm, attention-time.Since(begun)))
}

func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
