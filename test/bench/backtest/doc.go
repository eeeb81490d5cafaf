// SPDX-License-Identifier: Apache-2.0

// Command backtest measures how long `spoor contract backtest` takes over a large store: it makes one, of a week of a made-up shop
// with ten million events, starts a collector on it, runs the back-test once to its end and once more killed in the middle and
// resumed, and compares the two answers.
//
// `make bench-backtest` runs it. The store stays in build/history for the next time.
package main
