// SPDX-License-Identifier: Apache-2.0

package main

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// answer is what is true of a program, whatever Spoor says.
type answer struct {
	// What it is and how it is set up.
	What string
	// Whether it keeps state, or what else it does that was agreed by nobody, in a few words.
	Truth string
	// The rules that must speak, and no others. A rule with ":low" must not page.
	Rules []string
}

//go:embed answers.yaml
var answersFile []byte

func readAnswers(data []byte) (map[string]answer, error) {
	var answers map[string]answer
	if err := yaml.UnmarshalWithOptions(data, &answers, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("answers.yaml: %w", err)
	}
	for name, a := range answers {
		if a.What == "" || a.Truth == "" || a.Rules == nil {
			return nil, fmt.Errorf("answers.yaml: %s needs what, truth and rules", name)
		}
	}
	return answers, nil
}

// told is one finding, as answers are written.
type told struct {
	rule, severity, subject string
}

// String is the rule, with what it does not do: page.
func (t told) String() string {
	if t.severity == "low" || t.severity == "info" {
		return t.rule + ":low"
	}
	return t.rule
}

// verdict is what was told of one program against what is true of it.
type verdict struct {
	name   string
	answer answer
	told   []told
	// Rules that spoke, each once, in the form of answers.
	rules []string
	// Why the program could not be run.
	trouble error
}

func judge(name string, a answer, all []told) verdict {
	v := verdict{name: name, answer: a, told: all}
	for _, t := range all {
		if !slices.Contains(v.rules, t.String()) {
			v.rules = append(v.rules, t.String())
		}
	}
	slices.Sort(v.rules)
	slices.Sort(v.answer.Rules)
	return v
}

func (v *verdict) right() bool { return v.trouble == nil && slices.Equal(v.rules, v.answer.Rules) }

// score is how often a rule spoke, and how often it should have.
type score struct{ right, wrong, missed int }

// scores counts per rule, over all programs.
func scores(verdicts []verdict) map[string]*score {
	all := map[string]*score{}
	of := func(rule string) *score {
		rule, _, _ = strings.Cut(rule, ":")
		if all[rule] == nil {
			all[rule] = &score{}
		}
		return all[rule]
	}
	for i := range verdicts {
		v := &verdicts[i]
		for _, rule := range v.rules {
			if slices.Contains(v.answer.Rules, rule) {
				of(rule).right++
			} else {
				of(rule).wrong++
			}
		}
		for _, rule := range v.answer.Rules {
			if !slices.Contains(v.rules, rule) {
				of(rule).missed++
			}
		}
	}
	return all
}
