// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"net/http"
	"net/http/pprof"

	"github.com/spoor/spoor/collector/trust"
)

// profiles answers below /debug/pprof/, to admins. Where nobody is asked who he is, that is everybody on this host, but no page of
// another site in a browser: it could not read the answer, and need not have it made.
func (c *Collector) profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, role := "anybody", ""
		person := trust.PersonOf(r.Context())
		if person != nil {
			name, role = person.Name, person.Role.String()
		}
		refused := ""
		switch {
		case person != nil && person.Role < trust.Admin:
			refused = "profiles are for the role admin"
		case r.Header.Get("Sec-Fetch-Site") == "cross-site":
			refused = "profiles are not for pages of other sites"
		}
		outcome := "ok"
		if refused != "" {
			outcome = "permission_denied"
		}
		c.o.Audit.InfoContext(r.Context(), "question", "who", name, "role", role, "from", r.RemoteAddr, "method", "profile", "asked", r.URL.RequestURI(), "outcome", outcome)
		if refused != "" {
			http.Error(w, refused, http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
}
