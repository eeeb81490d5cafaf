// SPDX-License-Identifier: Apache-2.0

package up_test

import (
	"io"
	"io/fs"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spoor/spoor/deploy"
)

// What alert rules and dashboards name is what a running Spoor exports.
func TestRulesAndDashboardsNameMetricsThatExist(t *testing.T) {
	metric := regexp.MustCompile(`\b(?:spoor|process|go)_[a-z0-9_]+\b`)
	named := map[string]string{"spoor_build_info": "docs/operating.md"} // the file that names it
	for _, pattern := range []string{"prometheus/*.yaml", "grafana/*.json"} {
		files, err := fs.Glob(deploy.Monitoring, pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v (%v)", pattern, files, err)
		}
		for _, file := range files {
			content, err := deploy.Monitoring.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range metric.FindAllString(string(content), -1) {
				named[name] = file
			}
		}
	}
	if len(named) < 20 {
		t.Fatalf("only %d metrics are named: %v", len(named), named)
	}
	w := start(t)
	sample := regexp.MustCompile(`(?m)^[a-z][a-z0-9_]+`)
	var missing []string
	exported := func() bool {
		response, err := http.Get(w.url + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		is := map[string]bool{}
		for _, name := range sample.FindAllString(string(body), -1) {
			is[name] = true
		}
		missing = missing[:0]
		for _, name := range slices.Sorted(maps.Keys(named)) {
			if !is[name] {
				missing = append(missing, name+" of "+named[name])
			}
		}
		return len(missing) == 0
	}
	t.Cleanup(func() {
		if len(missing) > 0 {
			t.Errorf("not exported: %s", strings.Join(missing, ", "))
		}
	})
	w.until("all metrics that are named", exported) // some come with the first event, or the first question
	w.stop()
}
