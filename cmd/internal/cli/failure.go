// SPDX-License-Identifier: Apache-2.0

package cli

// Failure is an error with what to do about it and the exit code that it causes.
type Failure struct {
	Code int
	Err  error
	// Fix says what to do, in whole sentences.
	Fix string
}

func (f *Failure) Error() string { return f.Err.Error() }

func (f *Failure) Unwrap() error { return f.Err }

// BadInput is a failure of the one who asked.
func BadInput(err error, fix string) error { return &Failure{Code: CodeBadInput, Err: err, Fix: fix} }

// Failed is a failure of the system.
func Failed(err error, fix string) error { return &Failure{Code: CodeFailed, Err: err, Fix: fix} }

// exitCode ends a command with a code and no words: everything has been said.
type exitCode int

func (exitCode) Error() string { return "see the output" }

// Found is returned by commands that have printed findings or differences.
func Found() error { return exitCode(CodeFound) }

// Reported is returned by commands that have printed what is wrong with their input.
func Reported() error { return exitCode(CodeBadInput) }
