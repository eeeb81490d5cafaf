// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
)

const intro = `# Verdicts

What Spoor said of real programs of the distribution, each a unit of its own that lived twice under the load of a small client, against
answers that were written before ([test/verdicts/answers.yaml](../test/verdicts/answers.yaml)). Every one had a contract that calls it stateless and
lets it write to /tmp for 20 seconds, unless something else stands there. ` + "`make test-verdicts`" + ` makes this page.

A rule with ` + "`:low`" + ` is a finding for working hours, and pages nobody.

`

// table writes the page.
func table(verdicts []verdict, quiet quietRun) []byte {
	var b bytes.Buffer
	right := 0
	for i := range verdicts {
		if verdicts[i].right() {
			right++
		}
	}
	b.WriteString(intro)
	fmt.Fprintf(&b, "%d of %d verdicts are right.\n\n| program | what it is | what is true of it | what must be said | what was said | right |\n|---|---|---|---|---|---|\n", right, len(verdicts))
	for i := range verdicts {
		v := &verdicts[i]
		mark := "yes"
		if !v.right() {
			mark = "**no**"
		}
		said := code(v.rules)
		if v.trouble != nil {
			said = "could not be run"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", v.name, v.answer.What, v.answer.Truth, code(v.answer.Rules), said, mark)
	}
	b.WriteString("\n## By rule\n\nRecall: of the programs of which a rule should speak, those of which it did. Precision: of those of which it spoke, those of which it should.\n\n| rule | right | wrong | missed | recall | precision |\n|---|---|---|---|---|---|\n")
	all := scores(verdicts)
	for _, rule := range slices.Sorted(maps.Keys(all)) {
		s := all[rule]
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %s | %s |\n", rule, s.right, s.wrong, s.missed, share(s.right, s.right+s.missed), share(s.right, s.right+s.wrong))
	}
	fmt.Fprintf(&b, "\n## A quiet host\n\nThe same programs on the same host while nobody has written a contract: %d programs, %d events, **%d findings**.\n", quiet.programs, quiet.events, quiet.findings)
	return b.Bytes()
}

func code(rules []string) string {
	if len(rules) == 0 {
		return "nothing"
	}
	return "`" + strings.Join(rules, "`, `") + "`"
}

func share(part, whole int) string {
	if whole == 0 {
		return "-"
	}
	return fmt.Sprintf("%d %%", 100*part/whole)
}
