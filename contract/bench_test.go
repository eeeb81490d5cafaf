// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// A contract as large as those of busy services, next to a hundred others.
func manyContracts(b *testing.B) *Set {
	b.Helper()
	large := strings.Replace(checkoutContract, "  calls:\n", "  calls:\n"+strings.Repeat("    - {workload: other/Deployment/serviceNNN, port: 8443}\n", 60), 1)
	for i := range 60 {
		large = strings.Replace(large, "NNN", fmt.Sprint(i), 1)
	}
	large = strings.Replace(large, "scratch:\n", "scratch:\n    - {path: \"/var/lib/*/tmp-[0-9]*/**\", maxAge: 1h}\n    - {path: \"/srv/**/*.part\", maxAge: 1h}\n", 1)
	docs := []string{large}
	for i := range 100 {
		docs = append(docs, doc(fmt.Sprintf("c%d", i), fmt.Sprintf(`{kind: Deployment, name: service%d}`, i)), doc(fmt.Sprintf("p%d", i), fmt.Sprintf(`{namespace: ns%d, kind: "*", name: "*"}`, i)))
	}
	return mustSet(b, docs...)
}

func bench(b *testing.B, w *spoorv1.Workload, facts ...any) {
	s := &scene{t: &testing.T{}, judge: NewJudge(manyContracts(b)), now: dawn, workload: w, instance: "i1", tgid: 100}
	var events []*spoorv1.Event
	for _, f := range facts {
		events = append(events, s.event(f))
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		s.judge.Observe(events[i%len(events)])
		if i++; i%100000 == 0 {
			s.judge.Tick(dawn.Add(time.Duration(i) * time.Microsecond))
		}
	}
}

func BenchmarkObserve(b *testing.B) {
	manyFiles := func(dir string) (facts []any) {
		for i := range uint64(3000) {
			f := inode(fmt.Sprintf("%s/file-%d.tmp", dir, i), i, layer)
			facts = append(facts, write(f), unlink(f))
		}
		return facts
	}
	b.Run("without contract/write", func(b *testing.B) { bench(b, stranger, write(inode("/app/x", 7, layer))) })
	b.Run("without contract/flow", func(b *testing.B) { bench(b, stranger, call("203.0.113.7", 25)) })
	b.Run("without contract/process", func(b *testing.B) { bench(b, stranger, &spoorv1.ProcessStart{}) })
	b.Run("volume", func(b *testing.B) { bench(b, checkout, write(inode("/var/cache/tpl/a", 7, layer))) })
	b.Run("scratch file, again", func(b *testing.B) { bench(b, checkout, write(inode("/tmp/x", 7, layer))) })
	b.Run("scratch files made and removed", func(b *testing.B) { bench(b, checkout, manyFiles("/tmp")...) })
	b.Run("forbidden file, again", func(b *testing.B) { bench(b, checkout, write(inode("/app/x", 7, layer))) })
	b.Run("forbidden files made and removed", func(b *testing.B) { bench(b, checkout, manyFiles("/app")...) })
	b.Run("call allowed last", func(b *testing.B) { bench(b, checkout, call("10.20.1.1", 5432)) })
	b.Run("call forbidden", func(b *testing.B) { bench(b, checkout, call("203.0.113.7", 25)) })
	b.Run("call held", func(b *testing.B) { bench(b, checkout, call("10.1.0.8", 8443)) })
	b.Run("caller allowed", func(b *testing.B) { bench(b, checkout, calledBy(frontend, "10.1.0.8", 8443)) })
	b.Run("process", func(b *testing.B) {
		bench(b, checkout, &spoorv1.ProcessStart{Cause: spoorv1.ProcessStart_CAUSE_FORK}, &spoorv1.ProcessExit{})
	})
	b.Run("scan of peers", func(b *testing.B) {
		var facts []any
		for i := range 5000 {
			facts = append(facts, call(fmt.Sprintf("198.18.%d.%d", i/256, i%256), 22))
		}
		bench(b, checkout, facts...)
	})
}

func BenchmarkFor(b *testing.B) {
	set := manyContracts(b)
	for b.Loop() {
		set.For(checkout, Labels{})
	}
}

func BenchmarkParse(b *testing.B) {
	data := []byte(checkoutContract)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := Parse("f.yaml", data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerdict(b *testing.B) {
	s := &scene{t: &testing.T{}, judge: NewJudge(mustSet(b, checkoutContract)), now: dawn, workload: checkout, instance: "i1", tgid: 100}
	ev := s.event(write(inode("/app/1234.json", 7, layer)))
	n := 0
	for b.Loop() {
		s.now = s.now.Add(time.Hour)
		ev.Time = timestamppb.New(s.now)
		n += len(s.judge.Observe(ev))
	}
	if n < b.N {
		b.Fatalf("%d verdicts of %d", n, b.N)
	}
}
