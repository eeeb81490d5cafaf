// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/spoor/spoor/test/recording"
)

// What is found in a recording of a real cluster by the contracts that were learned from it, and by those in which nothing is allowed.
func TestRecordedShop(t *testing.T) {
	events := recording.Read(t, "../test/formats/testdata/shop/events.jsonl.gz")
	learner := NewLearner(LearnOptions{For: time.Second, Quiet: time.Second, Instances: 1})
	for _, ev := range events {
		learner.Observe(ev)
	}
	var agreed, nothing []*Contract
	for _, w := range learner.Workloads() {
		c := learner.Contract(w).Contract
		agreed = append(agreed, c)
		none := *c
		none.Spec.Listens, none.Spec.Callers, none.Spec.Calls, none.Spec.Scratch, none.Spec.Volumes = []Listen{}, []Caller{}, []Call{}, nil, nil
		nothing = append(nothing, &none)
	}
	for name, contracts := range map[string][]*Contract{"learned": agreed, "nothing": nothing} {
		set, err := NewSet(contracts...)
		if err != nil {
			t.Fatal(err)
		}
		trial := NewBacktest(nil, set)
		trial.Observe(events...)
		found := trial.Result().OnlyProposed
		var tales []string
		for i := range found {
			tales = append(tales, found[i].Workload.GetName()+": "+tale(&found[i]))
		}
		slices.Sort(tales)
		got, golden := strings.Join(tales, "\n")+"\n", filepath.Join("testdata", "shop-"+name+".txt")
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("differs from %s (write it anew with -update):\n%s", golden, diff)
		}
	}
}
