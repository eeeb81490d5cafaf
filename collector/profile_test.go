// SPDX-License-Identifier: Apache-2.0

package collector_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/spoor/spoor/collector"
	"github.com/spoor/spoor/collector/trust"
)

// TestProfilesAreForAdmins: of people who are known by tokens; without people, for this host, and no page from elsewhere.
func TestProfilesAreForAdmins(t *testing.T) {
	file := filepath.Join(t.TempDir(), "people.yaml")
	content := ""
	for _, role := range []string{"viewer", "responder", "admin"} {
		content += fmt.Sprintf("- {name: %s, role: %s, token: %q}\n", role, role, trust.Digest(role))
	}
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	people, err := trust.LoadPeople(file, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	guarded, open := start(t, collector.Options{People: people}), start(t, collector.Options{})
	for _, c := range []struct {
		centre      *centre
		token, site string
		want        int
	}{
		{guarded, "", "", http.StatusUnauthorized},
		{guarded, "viewer", "", http.StatusForbidden},
		{guarded, "responder", "", http.StatusForbidden},
		{guarded, "admin", "", http.StatusOK},
		{guarded, "admin", "cross-site", http.StatusForbidden},
		{open, "", "", http.StatusOK},
		{open, "", "cross-site", http.StatusForbidden},
	} {
		for _, page := range []string{"/debug/pprof/", "/debug/pprof/goroutine?debug=1", "/debug/pprof/cmdline"} {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.centre.url+page, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			if c.token != "" {
				request.Header.Set("Authorization", "Bearer "+c.token)
			}
			if c.site != "" {
				request.Header.Set("Sec-Fetch-Site", c.site)
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, response.Body); err != nil {
				t.Error(err)
			}
			_ = response.Body.Close()
			if response.StatusCode != c.want {
				t.Errorf("%s as %q from %q: %d, want %d", page, c.token, c.site, response.StatusCode, c.want)
			}
		}
	}
}
