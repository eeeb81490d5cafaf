// SPDX-License-Identifier: Apache-2.0

package clickhouse

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseAddress(t *testing.T) {
	for text, want := range map[string]Address{
		"clickhouse://ch/spoor":                         {Hosts: []string{"ch:8123"}, Database: "spoor"},
		"clickhouse://ch1:81,ch2,10.0.0.1:83/spoor":     {Hosts: []string{"ch1:81", "ch2:8123", "10.0.0.1:83"}, Database: "spoor"},
		"clickhouse://[::1]:9,[::2]/spoor":              {Hosts: []string{"[::1]:9", "[::2]:8123"}, Database: "spoor"},
		"clickhouse://u:p%40ss@ch,ch2/s?secure=true":    {Hosts: []string{"ch:8443", "ch2:8443"}, Database: "s", User: "u", Password: "p@ss", Secure: true},
		"clickhouse://u@ch/s?cluster=main&secure=false": {Hosts: []string{"ch:8123"}, Database: "s", User: "u", Cluster: "main"},
	} {
		got, err := ParseAddress(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if diff := cmp.Diff(&want, got); diff != "" {
			t.Errorf("%s: want - got +\n%s", text, diff)
		}
		if strings.Contains(got.String(), "p@ss") || strings.Contains(got.String(), "p%40ss") {
			t.Errorf("%s is shown with its password: %s", text, got)
		}
	}
	for text, problem := range map[string]string{
		"http://ch/spoor":              "does not begin with clickhouse://",
		"clickhouse://ch":              `the database ""`,
		"clickhouse://ch/a/b":          `the database "a/b"`,
		"clickhouse://ch/a`b":          "not a name",
		"clickhouse:///spoor":          `"" is not a host`,
		"clickhouse://ch,ch/spoor":     "twice",
		"clickhouse://ch/s?tls=yes":    `"tls" is not known`,
		"clickhouse://ch/s?secure=yes": "not true or false",
		"clickhouse://ch/s?cluster='":  "the cluster",
		"clickhouse://ch:x/spoor":      "not a host",
		"clickhouse://u:secret%zz@c/s": "cannot be read",
	} {
		_, err := ParseAddress(text)
		if err == nil || !strings.Contains(err.Error(), problem) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %q", text, err, problem)
		}
	}
}
