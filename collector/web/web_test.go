// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spoor/spoor/collector/web"
)

func get(t *testing.T, method, path string, header http.Header) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
	maps.Copy(r.Header, header)
	w := httptest.NewRecorder()
	web.Handler().ServeHTTP(w, r)
	return w
}

func TestPage(t *testing.T) {
	for path, contentType := range map[string]string{
		"/": "text/html", "/app.js": "text/javascript", "/style.css": "text/css", "/icon.svg": "image/svg+xml",
	} {
		r := get(t, http.MethodGet, path, nil)
		if r.Code != http.StatusOK {
			t.Errorf("%s: %d", path, r.Code)
		}
		if got := r.Header().Get("Content-Type"); !strings.HasPrefix(got, contentType) {
			t.Errorf("%s: Content-Type %q, want %s", path, got, contentType)
		}
		csp := r.Header().Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'self'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: Content-Security-Policy %q", path, csp)
		}
		if got := r.Header().Get("X-Content-Type-Options"); got != "nosniff" {
			t.Errorf("%s: X-Content-Type-Options %q", path, got)
		}
	}
}

func TestUnchangedFilesAreNotSentAgain(t *testing.T) {
	etag := get(t, http.MethodGet, "/app.js", nil).Header().Get("ETag")
	if r := get(t, http.MethodGet, "/app.js", http.Header{"If-None-Match": {etag}}); r.Code != http.StatusNotModified {
		t.Errorf("the same ETag gives %d", r.Code)
	}
}

func TestOtherRequests(t *testing.T) {
	for path, want := range map[string]int{"/no.js": 404, "/static/app.js": 404, "/../web.go": 404, "/.": 404} {
		if r := get(t, http.MethodGet, path, nil); r.Code != want {
			t.Errorf("GET %s: %d, want %d", path, r.Code, want)
		}
	}
	if r := get(t, http.MethodPost, "/", nil); r.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST /: %d", r.Code)
	}
	if r := get(t, http.MethodHead, "/", nil); r.Code != http.StatusOK {
		t.Errorf("HEAD /: %d", r.Code)
	}
}

// What processes call themselves must never be parsed as markup or run, and the page must ask nobody else.
func TestNothingInThePageParsesMarkupOrLeavesTheServer(t *testing.T) {
	forbidden := regexp.MustCompile(`\b(innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval|DOMParser|createContextualFragment|srcdoc)\b\s*[(=]|new Function|https?://|javascript:|style="|\son[a-z]+="`)
	svgNamespace := "http://www.w3.org/2000/svg"
	err := fs.WalkDir(os.DirFS("static"), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile("static/" + name)
		if err != nil {
			return err
		}
		text := strings.ReplaceAll(string(data), svgNamespace, "")
		if found := forbidden.FindString(text); found != "" {
			t.Errorf("%s has %q", name, found)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
