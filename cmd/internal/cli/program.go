// SPDX-License-Identifier: Apache-2.0

// Package cli is what the command lines of spoor and spoor-agent have in common: how flags, the environment and
// a config file become values, how failures become sentences and exit codes, how an agent is described by flags.
//
// It must not import the collector or anything that only people's commands need: spoor-agent links it.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"unicode"

	"github.com/alecthomas/kong"
)

// Exit codes that scripts may rely on.
const (
	CodeOK = 0
	// CodeFound: the question was answered and there are findings or differences.
	CodeFound = 1
	// CodeBadInput: wrong usage, or input that cannot be read.
	CodeBadInput = 2
	// CodeFailed: the system failed, not the one who asked.
	CodeFailed = 3
)

// Streams are where a program reads and writes.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// Program is one command line.
type Program struct {
	Name        string
	Description string
	// Grammar points to a struct with kong tags. Commands have a method Run that may take a context.Context,
	// which ends at SIGINT or SIGTERM, and a *Streams.
	Grammar any
	Groups  []Group
	// Vars stand for ${name} in help texts.
	Vars    map[string]string
	Streams Streams
}

// Group is a heading over commands in the help.
type Group struct{ Key, Title string }

// exitNow leaves the parser where kong wants to end the process, after printing help for example.
type exitNow int

// Run parses args, runs the command that they name and returns the exit code of the process. What stands behind "help" is what
// help is asked for.
func (p Program) Run(args []string) (code int) {
	if len(args) > 0 && args[0] == "help" {
		args = append(slices.Clone(args[1:]), "--help")
	}
	defer func() {
		if r := recover(); r != nil {
			n, ok := r.(exitNow)
			if !ok {
				panic(r)
			}
			code = int(n)
		}
	}()
	// The first signal asks the command to end in good order, the second ends it at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	var groups []kong.Group
	for _, g := range p.Groups {
		groups = append(groups, kong.Group{Key: g.Key, Title: g.Title})
	}
	parser, err := kong.New(p.Grammar,
		kong.Name(p.Name),
		kong.Description(p.Description),
		kong.Writers(p.Streams.Out, p.Streams.Err),
		kong.Exit(func(code int) { panic(exitNow(code)) }),
		kong.DefaultEnvars("SPOOR"),
		kong.Configuration(loadConfig, DefaultConfigFile),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(&p.Streams),
		kong.Vars(p.Vars),
		kong.ExplicitGroups(groups),
	)
	if err != nil {
		fix := ""
		if strings.HasPrefix(err.Error(), DefaultConfigFile) {
			fix = "Correct the file, or remove it: it is optional."
		}
		return p.fail(BadInput(err, fix))
	}
	command, err := parser.Parse(args)
	if err != nil {
		if _, ok := errors.AsType[*Failure](err); !ok {
			err = BadInput(err, p.usageHint(err))
		}
		return p.fail(err)
	}
	if err := command.Run(); err != nil {
		return p.fail(err)
	}
	return CodeOK
}

// usageHint names the help page of the command that was meant, as far as the parser understood.
func (p Program) usageHint(err error) string {
	name := p.Name
	if parse, ok := errors.AsType[*kong.ParseError](err); ok && parse.Context != nil {
		if n := parse.Context.Selected(); n != nil {
			name = n.FullPath()
		}
	}
	if strings.Contains(err.Error(), "unknown flag --json") {
		return "Write -o json."
	}
	return fmt.Sprintf("Run %q for the flags and examples.", name+" --help")
}

func (p Program) fail(err error) int {
	if code, ok := errors.AsType[exitCode](err); ok {
		return int(code)
	}
	f, ok := errors.AsType[*Failure](err)
	if !ok {
		f = &Failure{Code: CodeFailed}
	}
	fmt.Fprintf(p.Streams.Err, "%s: %s\n", p.Name, harmless(err.Error()))
	if f.Fix != "" {
		fmt.Fprintln(p.Streams.Err, harmless(f.Fix))
	}
	return f.Code
}

// harmless replaces what a terminal would act upon: messages may quote names that processes chose.
func harmless(message string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == ' ' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, message)
}
