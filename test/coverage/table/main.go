// SPDX-License-Identifier: Apache-2.0

// Command table makes docs/coverage.md of what the coverage test found: one file a kernel and tier, named after them
// (6.1-base.json). It prints to standard output, and fails when a cell is not as it should be.
package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/spoor/spoor/agent/selftest"
)

// found is the report of one kernel and tier.
type found struct {
	kernel, tier string
	selftest.Report
}

var options struct {
	Reports []string `arg:"" type:"existingfile" help:"Files that the test wrote."`
}

func main() {
	kctx := kong.Parse(&options, kong.Description("Make docs/coverage.md of what the coverage test found."))
	var reports []found
	for _, name := range options.Reports {
		r, err := read(name)
		kctx.FatalIfErrorf(err)
		reports = append(reports, r)
	}
	slices.SortStableFunc(reports, func(a, b found) int {
		return cmp.Or(strings.Compare(a.tier, b.tier), compareVersions(a.kernel, b.kernel))
	})
	_, err := os.Stdout.WriteString(document(reports))
	kctx.FatalIfErrorf(err)
	kctx.FatalIfErrorf(faults(reports))
}

func read(name string) (found, error) {
	kernel, tier, ok := strings.Cut(strings.TrimSuffix(filepath.Base(name), ".json"), "-")
	r := found{kernel: kernel, tier: tier}
	if !ok {
		return r, fmt.Errorf("%s is not called KERNEL-TIER.json", name)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(b, &r.Report); err != nil {
		return r, fmt.Errorf("%s: %w", name, err)
	}
	return r, nil
}

// compareVersions orders 5.10 behind 5.9.
func compareVersions(a, b string) int {
	var x, y [2]int
	_, errA := fmt.Sscanf(a, "%d.%d", &x[0], &x[1])
	_, errB := fmt.Sscanf(b, "%d.%d", &y[0], &y[1])
	if errA != nil || errB != nil {
		return strings.Compare(a, b)
	}
	return slices.Compare(x[:], y[:])
}

// faults is an error that lists the cells which are not as they should be.
func faults(reports []found) error {
	var list []string
	for _, r := range reports {
		for _, c := range r.Cells {
			if !c.State.OK() {
				list = append(list, fmt.Sprintf("%s-%s: %s is %s on %s: %s", r.kernel, r.tier, c.Act, c.State, cmp.Or(c.FileSystem, "all"), c.Why))
			}
		}
	}
	if len(list) == 0 {
		return nil
	}
	return fmt.Errorf("not as it should be:\n%s", strings.Join(list, "\n"))
}
