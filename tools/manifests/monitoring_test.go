// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// promtool checks rules.
func promtool(t *testing.T, file string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "promtool", "check", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", file, err, out)
	}
}

// TestAlertRules: Prometheus takes them.
func TestAlertRules(t *testing.T) {
	promtool(t, "../../deploy/prometheus/spoor-rules.yaml")
}

// TestDashboards: Prometheus understands what their panels ask; what Grafana puts in is put in.
func TestDashboards(t *testing.T) {
	files, err := filepath.Glob("../../deploy/grafana/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("dashboards: %v (%v)", files, err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var dashboard struct {
			Panels []struct {
				ID      int
				Type    string
				Title   string
				Targets []struct{ Expr string }
			}
		}
		if err := json.Unmarshal(content, &dashboard); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		var rules strings.Builder
		rules.WriteString("groups:\n- name: panels\n  rules:\n")
		ids := map[int]bool{}
		for _, p := range dashboard.Panels {
			if ids[p.ID] {
				t.Errorf("%s: the number %d is given twice", file, p.ID)
			}
			ids[p.ID] = true
			if p.Type != "row" && len(p.Targets) == 0 {
				t.Errorf("%s: the panel %q asks nothing", file, p.Title)
			}
			for n, target := range p.Targets {
				expr := strings.NewReplacer("$__rate_interval", "5m", "$collector", ".*", "$agent", ".*").Replace(target.Expr)
				fmt.Fprintf(&rules, "  - {record: 'panel%d:%d', expr: '%s'}\n", p.ID, n, strings.ReplaceAll(expr, "'", "''"))
			}
		}
		asked := filepath.Join(t.TempDir(), "panels.yaml")
		if err := os.WriteFile(asked, []byte(rules.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		promtool(t, asked)
	}
}
