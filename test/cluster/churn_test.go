// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/test/scene"
)

// As many pods come and go as fast as the machine makes them: none has an event without its name, also after it was deleted, and
// agents keep within their memory.
func TestChurn(t *testing.T) {
	const (
		pods = 120
		// What a DaemonSet of deploy/ allows, less the kernel's maps.
		maxResident = 200 << 10 // KiB
	)
	l := newLab(t)
	l.letAgentsAsk()
	center, agents := l.watch()
	l.kubectl("apply", "-f", l.apply("services.yaml"))
	before := resident(t, agents)
	begun := time.Now()
	l.kubectl("apply", "-f", l.apply("churn.yaml", "@PODS@", strconv.Itoa(pods)))
	l.kubectl("wait", "job/churn", "-n", namespace, "--for=condition=Complete", "--timeout=300s")
	took := time.Since(begun)
	truth := l.truth()
	l.kubectl("delete", "job/churn", "-n", namespace, "--wait=true", "--timeout=120s")
	after := resident(t, agents)
	for _, a := range agents {
		a.stop()
	}
	events, err := scene.Events(t.Context(), l.ask(), &spoorv1.EventFilter{})
	if err != nil {
		t.Fatal(err)
	}
	center.stop()
	l.keep(events)
	newCheck(l, truth).all(events)
	t.Logf("%d pods in %.0f s, %.1f a second; resident memory of the agents, KiB: %v before, %v after", pods, took.Seconds(), pods/took.Seconds(), before, after)
	for i, kib := range after {
		if kib > maxResident {
			t.Errorf("agent %d has %d KiB of memory", i+1, kib)
		}
	}
}

// resident returns how much memory agents have, in KiB (proc_pid_status(5)).
func resident(t *testing.T, agents []*daemon) []int {
	t.Helper()
	var all []int
	for _, a := range agents {
		status, err := os.ReadFile("/proc/" + strconv.Itoa(a.cmd.Process.Pid) + "/status") // nsenter became the agent
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(status)) {
			if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
				n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, n)
			}
		}
	}
	return all
}
