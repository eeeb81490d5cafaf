// SPDX-License-Identifier: Apache-2.0

// Package upgrade replaces the agent of a machine under load, again and again, in the ways in which that happens: another
// version takes over, the same one starts anew, it is killed. What was done is known, and every bit of it must be told once.
package upgrade
