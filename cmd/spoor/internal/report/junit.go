// SPDX-License-Identifier: Apache-2.0

package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/spoor/spoor/contract"
)

// The parts of JUnit's format that every reader of it knows (the Ant task's JUnit schema).
type testSuites struct {
	XMLName xml.Name  `xml:"testsuites"`
	Suite   testSuite `xml:"testsuite"`
}

type testSuite struct {
	Name     string     `xml:"name,attr"`
	Tests    int        `xml:"tests,attr"`
	Failures int        `xml:"failures,attr"`
	Cases    []testCase `xml:"testcase"`
}

type testCase struct {
	Name    string   `xml:"name,attr"`
	Class   string   `xml:"classname,attr"`
	File    string   `xml:"file,attr,omitempty"`
	Failure *failure `xml:"failure,omitempty"`
}

type failure struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr"`
	Text    string `xml:",chardata"`
}

// JUnit writes a test case for each contract, which fails when something breaks it.
func JUnit(w io.Writer, contracts []*contract.Contract, verdicts []contract.Verdict) error {
	broken := byContract(verdicts)
	suite := testSuite{Name: "spoor contract test", Tests: len(contracts)}
	for _, c := range contracts {
		file, _ := c.Position()
		tc := testCase{Name: c.FullName(), Class: "contract", File: file}
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
	if err := e.Encode(testSuites{Suite: suite}); err != nil {
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
