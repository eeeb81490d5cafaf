// SPDX-License-Identifier: Apache-2.0

package spoor_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// forbidden names import paths, with everything below them, and why a program or layer must not link them.
type forbidden map[string]string

// tolerated is what other people's packages bring in although it is forbidden: only the importers that stand here may.
// Nothing of ours calls it, so the linker leaves most of it out.
var tolerated = map[string][]string{
	"database/sql": {
		"github.com/prometheus/client_golang/prometheus/collectors", // metrics of somebody's *sql.DB
		"github.com/google/uuid",                                    // ids that are columns
	},
	"expvar": {"github.com/prometheus/client_golang/prometheus"}, // metrics of somebody's expvars
	"os/exec": {
		"github.com/cilium/ebpf/internal/testutils/testmain", // that module's own tests
		"modernc.org/libc", // system(3), which SQLite never calls
		"k8s.io/client-go/plugin/pkg/client/auth/exec", // credentials from a program: agent/workload/kube refuses such files
	},
}

// A program that links something has it in its address space: the lists keep what runs with privileges small, and
// the layers apart. The linter holds the same arrows between neighbours; this holds what comes in through others.
var rules = []struct {
	name     string
	packages string
	links    string // something that it does link: shows that the list of imports is not empty or of something else
	forbids  forbidden
}{
	{
		name:     "spoor-agent runs with privileges on every node: the agent and nothing else",
		packages: "./cmd/spoor-agent",
		links:    "github.com/spoor/spoor/agent/sensor",
		forbids: forbidden{
			"github.com/spoor/spoor/collector":      "the agent knows the collector by its API only",
			"github.com/spoor/spoor/cmd/spoor":      "people's commands belong to people's machines",
			"database/sql":                          "an agent stores nothing",
			"modernc.org":                           "an agent stores nothing",
			"zombiezen.com/go/sqlite":               "an agent stores nothing",
			"github.com/ClickHouse":                 "an agent stores nothing",
			"html/template":                         "an agent serves no pages",
			"os/exec":                               "the agent runs nothing on the node",
			"plugin":                                "what runs with privileges is known when it is built",
			"net/smtp":                              "the collector notifies",
			"net/http/cgi":                          "the agent runs nothing on the node",
			"net/rpc":                               "one protocol is enough",
			"net/http/pprof":                        "it registers itself on the default mux",
			"expvar":                                "it registers itself on the default mux",
			"testing":                               "tests stay out of what is shipped",
			"k8s.io/client-go/tools/leaderelection": "agents share nothing",
		},
	},
	{
		name:     "spoor links everything, but no tests and no debugging by accident",
		packages: "./cmd/spoor",
		links:    "github.com/spoor/spoor/collector",
		forbids: forbidden{
			"expvar":       "it registers itself on the default mux",
			"plugin":       "what runs with privileges is known when it is built",
			"testing":      "tests stay out of what is shipped",
			"database/sql": "the store talks to its engine directly: the detour costs a third of a commit",
		},
	},
	{
		name:     "the agent never imports the collector",
		packages: "./agent/...",
		links:    "github.com/spoor/spoor/bpf",
		forbids: forbidden{
			"github.com/spoor/spoor/collector": "the agent knows the collector by its API only",
			"github.com/spoor/spoor/cmd":       "arrows point from commands to what they compose",
			"github.com/alecthomas/kong":       "options are handed in",
		},
	},
	{
		name:     "the collector runs on machines where nothing can be loaded",
		packages: "./collector/...",
		links:    "github.com/spoor/spoor/contract",
		forbids: forbidden{
			"github.com/spoor/spoor/agent":   "the collector knows agents by their API only",
			"github.com/spoor/spoor/bpf":     "only the agent's sensors know the kernel's records",
			"github.com/spoor/spoor/cmd":     "arrows point from commands to what they compose",
			"github.com/cilium/ebpf":         "a collector loads nothing",
			"github.com/vishvananda/netlink": "a collector asks its own kernel nothing",
			"github.com/alecthomas/kong":     "options are handed in",
			"os/exec":                        "a collector runs nothing",
		},
	},
	{
		name:     "contract judges what it is given, without doing anything",
		packages: "./contract/...",
		links:    "github.com/spoor/spoor/api/spoor/v1",
		forbids: forbidden{
			"github.com/spoor/spoor/agent":                       "judging is apart from seeing",
			"github.com/spoor/spoor/bpf":                         "judging is apart from seeing",
			"github.com/spoor/spoor/collector":                   "judging is apart from storing",
			"github.com/spoor/spoor/cmd":                         "arrows point from commands to what they compose",
			"github.com/spoor/spoor/api/spoor/v1/spoorv1connect": "contract speaks to nobody",
			"net/http":                       "contract does no I/O",
			"os/exec":                        "contract does no I/O",
			"database/sql":                   "contract does no I/O",
			"github.com/prometheus":          "contract returns what it has to say",
			"github.com/cilium/ebpf":         "judging is apart from seeing",
			"github.com/vishvananda/netlink": "contract does no I/O",
		},
	},
	{
		name:     "api is words: they depend on nobody who speaks them",
		packages: "./api/...",
		links:    "google.golang.org/protobuf/proto",
		forbids: forbidden{
			"github.com/spoor/spoor/agent":     "words depend on nobody who speaks them",
			"github.com/spoor/spoor/bpf":       "words depend on nobody who speaks them",
			"github.com/spoor/spoor/collector": "words depend on nobody who speaks them",
			"github.com/spoor/spoor/cmd":       "words depend on nobody who speaks them",
			"github.com/spoor/spoor/contract":  "words depend on nobody who speaks them",
			"github.com/prometheus":            "words measure nothing",
		},
	},
	{
		name:     "bpf loads and names, and decides nothing",
		packages: "./bpf/...",
		links:    "github.com/cilium/ebpf",
		forbids: forbidden{
			"github.com/spoor/spoor/agent":     "bpf decides nothing",
			"github.com/spoor/spoor/api":       "what the kernel says becomes words in the agent",
			"github.com/spoor/spoor/collector": "bpf decides nothing",
			"github.com/spoor/spoor/cmd":       "bpf decides nothing",
			"github.com/spoor/spoor/contract":  "bpf decides nothing",
		},
	},
}

func TestImports(t *testing.T) {
	for _, rule := range rules {
		t.Run(rule.packages, func(t *testing.T) {
			t.Parallel()
			imports := linked(t, rule.packages)
			if imports[rule.links] == nil {
				t.Errorf("%s links no %s: is this still the list of what it links?", rule.packages, rule.links)
			}
			for _, problem := range rule.forbids.in(imports) {
				t.Errorf("%s.\n%s", rule.name, problem)
			}
			// A list that could not fail would be worth nothing.
			for path := range rule.forbids {
				for _, path := range []string{path, path + "/below"} {
					broken := rule.forbids.in(map[string][]string{path: {"github.com/spoor/spoor/somewhere"}})
					if len(broken) != 1 {
						t.Errorf("an import of %s goes unnoticed", path)
					}
				}
			}
			if known := (forbidden{rule.links: "a test"}); len(known.in(imports)) == 0 {
				t.Errorf("%s is linked, and forbidding it changes nothing", rule.links)
			}
		})
	}
}

// in returns a sentence for each import that is forbidden.
func (f forbidden) in(imports map[string][]string) []string {
	var found []string
	for path, importers := range imports {
		for prefix, why := range f {
			if path != prefix && !strings.HasPrefix(path, prefix+"/") {
				continue
			}
			through := slices.DeleteFunc(slices.Clone(importers), func(importer string) bool {
				return slices.Contains(tolerated[prefix], importer) || tolerated[prefix] != nil && strings.HasPrefix(importer, prefix)
			})
			if len(through) > 0 {
				found = append(found, "It links "+path+" through "+strings.Join(through, " and ")+", which it must not: "+why+".")
			}
		}
	}
	slices.Sort(found)
	return found
}

// linked returns the import paths of everything that ends up in the packages as they are built for release, each with
// those who import it.
func linked(t *testing.T, packages string) map[string][]string {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-f", `{{.ImportPath}} {{join .Imports " "}}`, packages)
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list -deps %s: %v\n%s", packages, err, stderr.String())
	}
	imports := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		for _, imported := range fields[1:] {
			imports[imported] = append(imports[imported], fields[0])
		}
	}
	return imports
}
