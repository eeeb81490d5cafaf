// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"strings"
	"testing"
	"time"
)

// What was shared again and again is agreed to, but for memory and files of a stateless workload: a person has to uncomment these.
func TestLearnShares(t *testing.T) {
	p := newPupil(t)
	for range 3 {
		p.does(
			joined(socket, "/run/sidecar/app.sock", payments, "x"), joined(socket, "@abstract", frontend, "x"), joined(socket, "/run/systemd/journal/stdout", stranger, "x"),
			joined(memory, "/dev/shm/ring-1234", payments, "x"), reading(inode("/mnt/orders.json", 7, claim), payments, "x"),
			reading(inode("/var/log/pods/x.log", 8, hostPath), payments, "x"),
		)
		p.does(write(inode("/mnt/ledger", 9, claim)))
		p.workload = payments
		p.does(write(inode("/mnt/ledger", 9, claim)))
		p.workload = checkout
		p.after(time.Hour)
	}
	p.does(joined(socket, "/run/once.sock", payments, "x"))
	text := func(w *Learned) string {
		t.Helper()
		out, err := w.YAML()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse("f.yaml", out); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return string(out)
	}
	learned := p.learner.Contract(checkout)
	got := text(learned)
	for _, want := range []string{
		"  shares:\n    - {workload: shop/Deployment/frontend}  # share.socket, 1 instance\n",
		"    - {workload: shop/Deployment/payments, path: /run/sidecar/app.sock}  # share.socket, 1 instance\n",
		"    # writable memory, and stateless workloads share none. If both agreed:\n    # - {workload: shop/Deployment/payments, path: /dev/shm/ring-*}\n",
		"    # a file in a persistent volume, and stateless workloads share none. If both agreed:\n    # - {workload: shop/Deployment/payments, path: /mnt/orders.json}\n",
		"    # a Unix socket, seen once, 2026-05-01 09:00:00 UTC:\n    # - {workload: shop/Deployment/payments, path: /run/once.sock}\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks\n%s", want)
		}
	}
	for _, unwanted := range []string{"journal", "x.log", "path: /mnt/ledger}"} {
		if strings.Contains(got, unwanted) {
			t.Errorf("has %q", unwanted)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
	// What the contract says now is silent about what was learned, and nothing is added to it.
	again := p.learner.Extend(learned.Contract, checkout)
	if n := len(again.Contract.Spec.Shares); n != len(learned.Contract.Spec.Shares) {
		t.Errorf("%d shares became %d:\n%s", len(learned.Contract.Spec.Shares), n, text(again))
	}
	agreed := *learned.Contract
	agreed.Spec.Shares = []Share{{Path: "/mnt"}, {Path: "/run/other.sock"}}
	if got := text(p.learner.Extend(&agreed, checkout)); !strings.Contains(got, "- {path: /mnt}\n") || !strings.Contains(got, "- {path: /run/other.sock}  # not seen since 2026-05-01\n") ||
		strings.Contains(got, "orders.json") {
		t.Errorf("with an agreement about /mnt:\n%s", got)
	}
}
