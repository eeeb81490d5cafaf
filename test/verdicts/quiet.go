// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

// watch is what was said of the host in one stretch of time.
type watch struct {
	what             string
	length           time.Duration
	contracts        int
	events           uint64
	findings, alerts int
	told             []string
}

// receiver stands in for an Alertmanager, and counts.
type receiver struct {
	*httptest.Server
	alerts atomic.Int64
}

func newReceiver() *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var alerts []json.RawMessage
		if err := json.NewDecoder(req.Body).Decode(&alerts); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		r.alerts.Add(int64(len(alerts)))
	}))
	return r
}

// watchHost watches a host of services as they are installed: first without contracts, then by those that were learned from it,
// with nothing changed by hand, for a third of the time.
func watchHost(ctx context.Context, o *options, length time.Duration) (_ []watch, err error) {
	h, err := settle(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.leave(ctx)) }()
	contracts := filepath.Join(hostRoot, "contracts")
	bare, err := watchFor(ctx, o, h, length, func(up *watched) error {
		return learnHost(ctx, o, up, contracts, length)
	})
	if err != nil {
		return nil, err
	}
	bare.what = "nobody wrote a contract"
	files, err := filepath.Glob(filepath.Join(contracts, "*"))
	if err != nil {
		return nil, err
	}
	learned, err := watchFor(ctx, o, h, length/3, nil, "--contracts", contracts)
	if err != nil {
		return nil, err
	}
	learned.what, learned.contracts = "contracts as they were learned from that, unread", len(files)
	return []watch{*bare, *learned}, os.RemoveAll(hostRoot)
}

func watchFor(ctx context.Context, o *options, h *host, length time.Duration, then func(*watched) error, args ...string) (_ *watch, err error) {
	alertmanager := newReceiver()
	defer alertmanager.Close()
	args = append(args, "--data", filepath.Join(hostRoot, "data"), "--node", nodeName, "--alertmanager", alertmanager.URL)
	up, err := startSpoor(ctx, o.spoor, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, up.stop()) }()
	before, err := up.events(ctx)
	if err != nil {
		return nil, err
	}
	if err := h.live(ctx, length); err != nil {
		return nil, err
	}
	w := &watch{length: length, alerts: int(alertmanager.alerts.Load())}
	after, err := up.events(ctx)
	if err != nil {
		return nil, err
	}
	w.events = after - before
	all, err := up.findings(ctx)
	if err != nil {
		return nil, err
	}
	for name, findings := range all {
		for _, f := range findings {
			w.findings++
			w.told = append(w.told, fmt.Sprintf("%s of %s: %s", f, name, f.subject))
		}
	}
	if then != nil {
		err = then(up)
	}
	return w, err
}

// learnHost writes contracts of what the host's services did. What is missing to be sure is no reason not to take them here.
func learnHost(ctx context.Context, o *options, up *watched, dir string, length time.Duration) error {
	cmd := exec.CommandContext(ctx, o.spoor, "contract", "learn", "--collector", up.url, "--workload", hostUnits, "--out", dir,
		"--for", (length / 2).String(), "--quiet", (length / 10).String())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("learn: %w: %s", err, out)
	}
	return nil
}

const hostHeading = "## A host as it is installed"

// hostSection is what the page says of the host.
func hostSection(watches []watch) string {
	var names []string
	for _, s := range services() {
		names = append(names, s.name)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\nServices as the distribution configures them (%s), visited every few seconds and restarted once each, in the company of\nwhatever else the machine did. "+
		"`make test-quiet` writes this part; `QUIET=5m` makes it shorter.\n\n| contracts | watched | events | findings | alerts sent |\n|---|---|---|---|---|\n", hostHeading, strings.Join(names, ", "))
	for i := range watches {
		w := &watches[i]
		what := w.what
		if w.contracts > 0 {
			what = fmt.Sprintf("%d %s", w.contracts, what)
		}
		fmt.Fprintf(&b, "| %s | %s | %d | **%d** | **%d** |\n", what, w.length, w.events, w.findings, w.alerts)
	}
	return b.String()
}

// keepHost returns a page with the part about the host that an older page has.
func keepHost(page, older []byte) []byte {
	at := bytes.Index(older, []byte(hostHeading))
	if at < 0 {
		return page
	}
	return append(append(page, '\n'), older[at:]...)
}

// replaceHost returns a page with a new part about the host, which is the last.
func replaceHost(page []byte, section string) []byte {
	if at := bytes.Index(page, []byte(hostHeading)); at >= 0 {
		page = page[:at]
	}
	return append(append(bytes.TrimRight(page, "\n"), "\n\n"...), section...)
}
