// SPDX-License-Identifier: Apache-2.0

// Package act does, for real, the operations that an agent must see: it writes files in every way that the kernel
// offers, shares memory, talks over sockets and executes programs. `spoor selftest` commits the acts on a user's
// node and looks for the events; the tests of the sensors do the same in every kernel and on every file system.
//
// Each act runs in processes of its own, so that "exactly the right process was named" can be checked. They are
// the running binary again: a program that uses this package calls [Main] before anything else,
//
//	func TestMain(m *testing.M) {
//		act.Main()
//		os.Exit(m.Run())
//	}
//
// and then, wherever it likes,
//
//	for _, a := range act.All() {
//		result, err := a.Do(ctx, act.Env{Dir: dir})
//		...
//		problems := result.Judge(events)
//	}
//
// What an act needs is probed first: where it cannot be done, Do returns an [*Unsupported] with the reason, for
// example "reflink not supported by ext4". Any other error means that the act went wrong.
//
// The package must not know how an agent observes anything: it says what happened (see [Expectation]) in the
// words of the API, and nothing in it depends on BPF, on the sensors or on a collector.
//
// # Adding an act
//
// An act is a function that runs on the main thread of its own process and gets a [stage]: a directory, helpers
// (further processes, each in a named role), forked copies, and expect to say what happened. It must do exactly one thing;
// what it needs beforehand (a file with content) is prepared by yet another process, so that a sensor that
// names the wrong one is caught.
package act
