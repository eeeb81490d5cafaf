// SPDX-License-Identifier: Apache-2.0

package finding_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/finding"
	"github.com/spoor/spoor/contract"
)

// thrift is an engine with a small budget, over a judge that says what it is told to at the next tick.
type thrift struct {
	*lab
	judge *script
}

func newThrift(t *testing.T) *thrift {
	s := &thrift{lab: newLab(t), judge: &script{}}
	var err error
	s.engine, err = finding.New(finding.Options{
		Store: s.store, NewJudge: func() finding.Judge { return s.judge }, Budget: finding.Budget{First: 3, Again: 1},
		Completeness: func(context.Context, time.Time, time.Time, string) (*spoorv1.Completeness, error) {
			return &spoorv1.Completeness{Complete: true}, nil
		},
		Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// tick says verdicts after a while and returns of what receivers are told.
func (s *thrift) tick(after time.Duration, verdicts ...contract.Verdict) []string {
	s.t.Helper()
	s.now = s.now.Add(after)
	for i := range verdicts {
		verdicts[i].Time = s.now
	}
	s.judge.atTick = verdicts
	if err := s.engine.Tick(s.t.Context(), s.now); err != nil {
		s.t.Fatal(err)
	}
	var told []string
	for _, c := range s.engine.Take() {
		if c.Notify {
			told = append(told, c.Finding.GetSubject())
		}
	}
	return told
}

func (s *thrift) expect(what string, got []string, want ...string) {
	s.t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		s.t.Errorf("%s: told of %v, want %v", what, got, want)
	}
}

func open(subject string) contract.Verdict   { return verdict(subject, false) }
func closed(subject string) contract.Verdict { return verdict(subject, true) }

func TestBudget(t *testing.T) {
	s := newThrift(t)
	other := open("x")
	other.Rule = "flow.egress"
	s.expect("a storm", s.tick(0, open("a"), open("b"), open("c"), open("d"), open("e"), other), "a", "b", "c", "x")
	s.expect("nothing new", s.tick(time.Minute))
	// What waited and is over was never told, so its end is not either.
	s.expect("one of those that wait ends, and one that was told", s.tick(time.Second, closed("d"), closed("a")), "a")
	s.expect("there is room for one after twenty minutes", s.tick(19*time.Minute), "e")
	// What comes back has a budget of its own, so that what is new is told meanwhile.
	s.expect("it comes back", s.tick(time.Hour, open("a")), "a")
	s.expect("it ends", s.tick(time.Second, closed("a")), "a")
	s.expect("it comes back again", s.tick(time.Second, open("a"), open("f")), "f")
	s.expect("it ends again", s.tick(time.Second, closed("a")))
	s.expect("and again", s.tick(time.Second, open("a")))
	s.expect("an hour later", s.tick(time.Hour), "a")
	info := open("i")
	info.Severity = spoorv1.Severity_SEVERITY_INFO
	s.expect("information", s.tick(time.Hour, info))
	infoOver := info
	infoOver.Cleared = true
	s.expect("information that is over", s.tick(time.Second, infoOver))
}
