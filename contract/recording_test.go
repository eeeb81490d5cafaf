// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"bufio"
	"compress/gzip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// recorded reads the recording of the shop in a real cluster that test/formats has.
func recorded(t *testing.T) (events []*spoorv1.Event) {
	t.Helper()
	file, err := os.Open("../test/formats/testdata/shop/events.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	plain, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(plain)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		ev := &spoorv1.Event{}
		if err := protojson.Unmarshal(lines.Bytes(), ev); err != nil {
			t.Fatal(err)
		}
		events = append(events, ev)
	}
	if lines.Err() != nil {
		t.Fatal(lines.Err())
	}
	return events
}

// What is found in a recording of a real cluster by the contracts that were learned from it, and by those in which nothing is allowed.
func TestRecordedShop(t *testing.T) {
	events := recorded(t)
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
