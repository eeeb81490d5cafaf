// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spoor/spoor/cmd/internal/cli"
	"github.com/spoor/spoor/contract"
)

type contractCommand struct {
	Check    contractCheckCommand    `cmd:"" help:"Validate contract files."`
	Learn    contractLearnCommand    `cmd:"" help:"Write contracts of what workloads were seen to do, for people to review."`
	Diff     contractDiffCommand     `cmd:"" help:"Say what two versions of contracts allow differently; exits with 1 when they do."`
	Test     contractTestCommand     `cmd:"" help:"Judge what happened by contracts, for CI; exits with 1 when something is found."`
	Backtest contractBacktestCommand `cmd:"" help:"Say what proposed contracts would have found, and what today's find that they do not."`
	Export   contractExportCommand   `cmd:"" help:"Write network policies, or the patch for a read-only root file system."`
}

func (*contractCommand) Help() string {
	return `A contract says what has been agreed about a workload: what it may write and for how long, where it listens, who calls it and whom it calls. deploy/examples has some.

Examples:

    spoor contract learn --since 24h --out contracts
    spoor contract check contracts
    spoor record --since 24h day.jsonl.gz && spoor contract test contracts --recording day.jsonl.gz
    spoor contract diff main/contracts contracts`
}

type contractCheckCommand struct {
	Paths  []string `arg:"" name:"path" help:"Files, or folders of *.yaml and *.yml files."`
	Output string   `short:"o" help:"table for people, or json for programs: one object a problem." enum:"table,json" default:"table"`
}

func (*contractCheckCommand) Help() string {
	return `Reads contracts as the collector would. Each problem is one line: file:line:column, what is wrong, what to write instead. Exits with 2 when there is one.

Examples:

    spoor contract check deploy/examples
    spoor contract check checkout.yaml payments.yaml
    spoor contract check contracts/ -o json | jq -r '"\(.file):\(.line) \(.problem)"'`
}

// problem is one line of the answer in JSON.
type problem struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Problem string `json:"problem"`
	Fix     string `json:"fix,omitempty"`
}

func (c *contractCheckCommand) Run(streams *cli.Streams) error {
	var problems []problem
	contracts := 0
	for _, path := range c.Paths {
		found, wrong := contractProblems(path)
		contracts += found
		problems = append(problems, wrong...)
	}
	encoder := json.NewEncoder(streams.Out)
	encoder.SetEscapeHTML(false)
	for _, p := range problems {
		if c.Output == "json" {
			if err := encoder.Encode(p); err != nil {
				return fmt.Errorf("write the answer: %w", err)
			}
			continue
		}
		if _, err := fmt.Fprintln(streams.Out, p); err != nil {
			return fmt.Errorf("write the answer: %w", err)
		}
	}
	if len(problems) > 0 {
		return cli.Reported()
	}
	switch {
	case contracts == 0:
		// What checks nothing must not pass: the path may be that of another folder.
		return cli.BadInput(fmt.Errorf("no contract in %s", strings.Join(c.Paths, ", ")), "Contracts are documents in files whose names end in .yaml or .yml.")
	case c.Output == "json":
	case contracts == 1:
		remark(streams, "No problem found in 1 contract.")
	default:
		remark(streams, "No problem found in %d contracts.", contracts)
	}
	return nil
}

func (p problem) String() string {
	return (&contract.ParseError{File: p.File, Line: p.Line, Column: p.Column, Problem: p.Problem, Fix: p.Fix}).Error()
}

// contractProblems reads a file or a folder and returns how many contracts there are, and what is wrong with it.
func contractProblems(path string) (int, []problem) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, []problem{unreadable(path, err)}
	}
	if info.IsDir() {
		set, err := loadContracts(path)
		if err != nil {
			return 0, problemsOf(path, err)
		}
		return set.Len(), nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, []problem{unreadable(path, err)}
	}
	contracts, err := contract.Parse(path, data)
	return len(contracts), problemsOf(path, err)
}

func unreadable(path string, err error) problem {
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		err = pe.Err
	}
	return problem{File: path, Problem: err.Error()}
}

// readContracts reads files and folders of contracts into one set.
func readContracts(paths ...string) (*contract.Set, error) {
	var all []*contract.Contract
	var errs []error
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			errs = append(errs, fmt.Errorf("read contracts: %w", err))
			continue
		}
		if info.IsDir() {
			set, err := loadContracts(path)
			all, errs = append(all, set.Contracts()...), append(errs, err)
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			errs = append(errs, fmt.Errorf("read contracts: %w", err))
			continue
		}
		contracts, err := contract.Parse(path, data)
		all, errs = append(all, contracts...), append(errs, err)
	}
	err := errors.Join(errs...)
	if err == nil {
		var set *contract.Set
		if set, err = contract.NewSet(all...); err == nil {
			return set, nil
		}
	}
	return nil, cli.BadInput(err, "\"spoor contract check\" lists all that is wrong with contracts.")
}

// loadContracts reads a folder of contracts. Problems carry paths that can be opened from here.
func loadContracts(dir string) (*contract.Set, error) {
	set, err := contract.Load(os.DirFS(dir))
	if err == nil {
		return set, nil
	}
	var errs []error
	for _, p := range problemsOf(dir, err) {
		if p.File != dir {
			p.File = filepath.Join(dir, p.File)
		}
		errs = append(errs, &contract.ParseError{File: p.File, Line: p.Line, Column: p.Column, Problem: p.Problem, Fix: p.Fix})
	}
	return nil, errors.Join(errs...)
}

// problemsOf takes joined errors apart. What is not about a place in a file is about path as a whole.
func problemsOf(path string, err error) []problem {
	if err == nil {
		return nil
	}
	if pe, ok := err.(*contract.ParseError); ok { //nolint:errorlint // the error itself: what it is joined with is looked at below
		return []problem{{pe.File, pe.Line, pe.Column, pe.Problem, pe.Fix}}
	}
	var problems []problem
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			problems = append(problems, problemsOf(path, e)...)
		}
		return problems
	}
	if _, ok := errors.AsType[*contract.ParseError](err); ok {
		return problemsOf(path, errors.Unwrap(err))
	}
	return []problem{{File: path, Problem: err.Error()}}
}
