// SPDX-License-Identifier: Apache-2.0

package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/spoor/spoor/contract"
)

// The parts of JUnit's format that the schema of Jenkins knows (junit-10.xsd of its xUnit plugin), and whatever it asks for.
type testSuites struct {
	XMLName xml.Name     `xml:"testsuites"`
	Suites  []*testSuite `xml:"testsuite"`
}

type testSuite struct {
	Name     string     `xml:"name,attr"`
	Tests    int        `xml:"tests,attr"`
	Failures int        `xml:"failures,attr"`
	Errors   int        `xml:"errors,attr"`
	File     string     `xml:"file,attr,omitempty"`
	Cases    []testCase `xml:"testcase"`
}

type testCase struct {
	Name    string   `xml:"name,attr"`
	Class   string   `xml:"classname,attr"`
	Failure *failure `xml:"failure,omitempty"`
}

type failure struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr"`
	Text    string `xml:",chardata"`
}

// JUnit writes a suite for each file, and in it a test case for each contract, which fails when something breaks it.
func JUnit(w io.Writer, contracts []*contract.Contract, verdicts []contract.Verdict) error {
	broken := byContract(verdicts)
	var all testSuites
	suites := map[string]*testSuite{}
	for _, c := range contracts {
		file, _ := c.Position()
		suite := suites[file]
		if suite == nil {
			suite = &testSuite{Name: strings.TrimSpace("spoor contract test " + file), File: file}
			suites[file] = suite
			all.Suites = append(all.Suites, suite)
		}
		suite.Tests++
		tc := testCase{Name: c.FullName(), Class: "contract"}
		if found := broken[c.FullName()]; len(found) > 0 {
			suite.Failures++
			tc.Failure = &failure{Message: fmt.Sprintf("%d findings; the first: %s", len(found), found[0].Title), Type: found[0].Rule, Text: text(found)}
		}
		suite.Cases = append(suite.Cases, tc)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(all); err != nil {
		return fmt.Errorf("write JUnit: %w", err)
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func text(verdicts []*contract.Verdict) string {
	var b strings.Builder
	for _, v := range verdicts {
		fmt.Fprintf(&b, "\n%s  %s\n%s\n%s\n", v.Rule, v.Title, v.Why, v.Fix)
	}
	return b.String()
}
