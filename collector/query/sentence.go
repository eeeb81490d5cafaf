// SPDX-License-Identifier: Apache-2.0

package query

import (
	"fmt"
	"strings"
	"time"

	"github.com/spoor/spoor/collector/store"
)

// lossWords say what one unit of a loss is, singular and plural, by source; reasons that begin with name lose names.
var lossWords = map[string][2]string{
	"process":            {"process event", "process events"},
	"file":               {"file fact", "file facts"},
	"socket":             {"connection fact", "connection facts"},
	"udp":                {"datagram fact", "datagram facts"},
	"workload":           {"workload", "workloads"},
	"dns":                {"DNS answer", "DNS answers"},
	store.SourceSequence: {"event", "events"},
}

// reasonWords say what happened where the stable word does not tell a stranger.
var reasonWords = map[string]string{
	"ring_full":        "the agent did not read the kernel's buffer in time",
	"ring_full_cgroup": "the agent did not read the kernel's buffer in time",
	"name_ring_full":   "the agent did not read the kernel's buffer in time",
	"map_full":         "more happened at once than the kernel side keeps",
	"queue_full":       "the collector was away for longer than the agent's queue lasts",
	"table_full":       "more of them were alive than the agent remembers",
	"texts_cut":        "their paths and arguments were more than the agent remembers of one workload, and were cut",
}

// forgottenWords say why events are no longer stored.
var forgottenWords = map[string]string{
	store.ForgottenAge:  ": events are kept for a limited time",
	store.ForgottenSize: ": the store had reached the size that it may have",
}

// lossSentence tells of something that is known to be missing, for example "node a: 12 file names lost
// (name_unreadable), the last at 2026-03-01 12:00:00 UTC".
func lossSentence(g *store.Gap) string {
	words, ok := lossWords[g.Source]
	if !ok {
		words = [2]string{"event", "events"}
	}
	if g.Source == "file" && strings.HasPrefix(g.Reason, "name_") {
		words = [2]string{"file name", "file names"}
	}
	word := words[1]
	if g.Count == 1 {
		word = words[0]
	}
	of := ""
	if g.Workload != nil {
		of = " of " + g.Workload.Path()
	}
	at := ""
	if !g.Time.IsZero() {
		at = ", the last at " + clock(g.Time)
		if g.Count == 1 {
			at = ", at " + clock(g.Time)
		}
	}
	if g.Source == store.SourceSequence {
		return fmt.Sprintf("%s: %d %s that the agent numbered never came%s", nodeName(g.Cluster, g.Node), g.Count, word, at)
	}
	why := g.Reason
	if words, ok := reasonWords[g.Reason]; ok {
		why += ": " + words
	}
	return fmt.Sprintf("%s: %d %s%s lost (%s)%s", nodeName(g.Cluster, g.Node), g.Count, word, of, why, at)
}

func nodeName(cluster, node string) string {
	if cluster != "" {
		node = cluster + "/" + node
	}
	return "node " + node
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }
