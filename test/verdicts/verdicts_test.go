// SPDX-License-Identifier: Apache-2.0

package main

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/spoor/spoor/contract"
)

// Every program has an answer, every answer a program, and every rule that an answer names exists.
func TestAnswersAreAboutPrograms(t *testing.T) {
	answers, err := readAnswers(answersFile)
	if err != nil {
		t.Fatal(err)
	}
	names := append(slices.Collect(maps.Keys(blindRows)), "node")
	for _, p := range programs() {
		if !p.helper {
			names = append(names, p.name)
		}
		if _, ok := answers[p.name]; ok == p.helper {
			t.Errorf("%s: has an answer: %v, is only a helper: %v", p.name, ok, p.helper)
		}
		s := &stage{program: &p, dir: "/var/lib/x", ports: map[string]int{"store": 1, "target": 2, "hub": 3}, port: 4, upstream: "http://127.0.0.1:5/"}
		if text := s.document(); text != "" {
			if _, err := contract.Parse(p.name, []byte(text)); err != nil {
				t.Error(err)
			}
		}
	}
	for name, a := range answers {
		if !slices.Contains(names, name) {
			t.Errorf("answers.yaml tells of %s, which is no program", name)
		}
		for _, rule := range a.Rules {
			if rule, _, _ := strings.Cut(rule, ":"); !slices.Contains(contract.Rules(), rule) {
				t.Errorf("%s: %s is no rule", name, rule)
			}
		}
	}
	if len(answers) < 25 {
		t.Errorf("only %d programs", len(answers))
	}
}

func TestScores(t *testing.T) {
	verdicts := []verdict{
		judge("a", answer{Rules: []string{"x", "y:low"}}, []told{{"x", "high", "1"}, {"x", "high", "2"}, {"y", "low", "1"}}),
		judge("b", answer{Rules: []string{"x"}}, []told{{"y", "low", "1"}}),
		judge("c", answer{Rules: []string{}}, nil),
	}
	for i, want := range []bool{true, false, true} {
		if got := verdicts[i].right(); got != want {
			t.Errorf("%s: right %v", verdicts[i].name, got)
		}
	}
	got := scores(verdicts)
	if *got["x"] != (score{right: 1, missed: 1}) || *got["y"] != (score{right: 1, wrong: 1}) {
		t.Errorf("x %+v, y %+v", *got["x"], *got["y"])
	}
	page := string(table(verdicts, quietRun{programs: 3}))
	for _, want := range []string{"2 of 3 verdicts are right.", "| x | 1 | 0 | 1 | 50 % | 100 % |", "| b |", "**no**"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
}
