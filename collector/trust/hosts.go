// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"net"
	"net/http"
	"slices"
	"strings"
)

// Hosts lets requests pass whose Host is an address, localhost, or one of names. A page from elsewhere can make its own name point to this
// machine's loopback address and then ask, in the browser of somebody here, under that name (DNS rebinding); it cannot do that with an
// address, and TLS ends it in other ways.
func Hosts(names []string, next http.Handler, refused func()) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
		if net.ParseIP(host) == nil && host != "localhost" && !slices.Contains(names, host) {
			refused()
			http.Error(w, "this collector does not answer under that name; ask it by its address, or name it with --hosts", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}
