// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"strings"
	"testing"
)

func TestGeneralise(t *testing.T) {
	for _, tc := range []struct{ path, want string }{
		{"/var/cache/app/1234.tmp", "/var/cache/app/*.tmp"},
		{"/var/cache/app/7.tmp", "/var/cache/app/*.tmp"},
		{"/app/data/cart.json", "/app/data/cart.json"},
		{"/usr/lib/python3.12/site.py", "/usr/lib/python3.12/site.py"},
		{"/opt/3.12/x", "/opt/3.12/x"},
		{"/var/log/app.log.1", "/var/log/app.log.1"},
		{"/var/log/app-2024-05-01.log", "/var/log/app-*.log"},
		{"/var/log/app-20240501T101500.log", "/var/log/app-*.log"},
		{"/data/550e8400-e29b-41d4-a716-446655440000.json", "/data/*.json"},
		{"/data/550e8400-e29b-41d4-a716-446655440000/x", "/data/*/x"},
		{"/cache/d41d8cd98f00b204e9800998ecf8427e", "/cache/*"},
		{"/tmp/tmp.Ab3dE9xYz1", "/tmp/tmp.*"},
		{"/tmp/tmpq7k2m9ab", "/tmp/tmp*"},
		{"/tmp/sess_k3j4h5k6j7h8", "/tmp/sess_k3j4h5k6j7h8"},
		{"/tmp/go-build3141592653/b001/x", "/tmp/go-build*/b001/x"},
		{"/core.12345", "/core.*"},
		{"/srv/README", "/srv/README"},
		{"/srv/CamelCaseName", "/srv/CamelCaseName"},
		{"/srv/a*b?[c]{d}\\e", `/srv/a\*b\?\[c\]\{d\}\\e`},
		{"/srv/new\nline", "/srv/new?line"},
		{"/srv/bad\xff\xfebytes", "/srv/bad??bytes"},
		{"/srv/\u202egpj.exe", "/srv/?gpj.exe"},
		{"/" + strings.Repeat("a/", 300) + "x", "/" + strings.Repeat("a/", 125) + "a/**"},
		{"/x/" + strings.Repeat("n", 250), "/x/*"},
		{"cut/off/name", "/**/cut/off/name"},
		{"", "/**"},
		{"/", "/"},
		{"/a//b", "/a/**"},
	} {
		if got := Generalise(tc.path); string(got) != tc.want {
			t.Errorf("Generalise(%q) = %q, want %q", tc.path, got, tc.want)
		}
	}
}

func FuzzGeneralise(f *testing.F) {
	for _, s := range []string{"/var/cache/app/1234.tmp", "/a*\\b/[x]/??", "/\xff/\n/\u202e", "rel/ative", "/a//b/../c/", "/" + strings.Repeat("x1234-", 50)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		p := Generalise(path)
		if fault := checkPath(string(p)); fault != nil {
			t.Fatalf("Generalise(%q) = %q: %v", path, p, fault)
		}
		if len(p) > maxGeneral {
			t.Fatalf("Generalise(%q) has %d bytes", path, len(p))
		}
		absolute := path
		if !strings.HasPrefix(path, "/") {
			absolute = "/" + path
		}
		if m := compilePath(p); !m.matches(absolute) {
			t.Fatalf("Generalise(%q) = %q does not cover the path", path, p)
		}
		if again := Generalise(path); again != p {
			t.Fatalf("Generalise(%q) is not stable", path)
		}
	})
}
