// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ParseError is one thing that is wrong with a contract, and what to write instead.
type ParseError struct {
	// File as it was handed to Parse or found by Load; "" for a contract that was not parsed.
	File string
	// Line and Column count from 1, columns in characters; 0 when unknown.
	Line, Column int
	Problem      string
	Fix          string
}

// Error is "file:line:column: problem; fix".
func (e *ParseError) Error() string {
	var b strings.Builder
	switch {
	case e.File != "" && e.Line > 0:
		fmt.Fprintf(&b, "%s:%d:%d: ", e.File, e.Line, e.Column)
	case e.File != "":
		b.WriteString(e.File + ": ")
	}
	b.WriteString(e.Problem)
	if e.Fix != "" {
		b.WriteString("; " + e.Fix)
	}
	return b.String()
}

// maxProblems bounds what is reported of one file; who has made a hundred mistakes made one of them everywhere.
const maxProblems = 100

// place is a position in a file.
type place struct{ line, column int }

// problems collects what is wrong with a file, and where the values of its current document stand.
type problems struct {
	file string
	all  []*ParseError
	// Positions by path, for example spec.calls[0].port.
	places map[string]place
	// Paths whose value could not be read, so that nobody complains that it is missing too.
	spoilt map[string]bool
}

func newProblems(file string) *problems {
	p := &problems{file: file}
	p.newDocument()
	return p
}

func (p *problems) newDocument() {
	p.places, p.spoilt = map[string]place{}, map[string]bool{}
}

func (p *problems) at(pos place, fix, problem string, args ...any) {
	p.all = append(p.all, &ParseError{File: p.file, Line: pos.line, Column: pos.column, Problem: fmt.Sprintf(problem, args...), Fix: fix})
}

// path reports a problem with the value at a path, or with what holds it when the value itself is not there.
func (p *problems) path(path, fix, problem string, args ...any) {
	p.at(p.place(path), fix, problem, args...)
}

func (p *problems) place(path string) place {
	for {
		if pos, ok := p.places[path]; ok || path == "" {
			return pos
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
}

// spoiltBelow says whether the value at a path, or a part of it, could not be read.
func (p *problems) spoiltBelow(path string) bool {
	for at := range p.spoilt {
		if strings.HasPrefix(at, path) {
			return true
		}
	}
	return false
}

// err joins the problems in the order of the file.
func (p *problems) err() error {
	slices.SortStableFunc(p.all, func(a, b *ParseError) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	rest := 0
	if len(p.all) > maxProblems {
		rest = len(p.all) - maxProblems
	}
	var errs []error
	for _, e := range p.all[:len(p.all)-rest] {
		errs = append(errs, e)
	}
	if rest > 0 {
		errs = append(errs, &ParseError{File: p.file, Problem: fmt.Sprintf("%d more problems", rest), Fix: "correct those above first"})
	}
	return errors.Join(errs...)
}
