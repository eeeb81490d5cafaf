// SPDX-License-Identifier: Apache-2.0

// Package loopback finds room on this machine for programs that tests start and that are told where to listen.
package loopback

import (
	"net"
	"testing"
)

// Free returns an address at which nobody listens.
func Free(t testing.TB) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}
