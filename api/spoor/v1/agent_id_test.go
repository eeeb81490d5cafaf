// SPDX-License-Identifier: Apache-2.0

package spoorv1

import (
	"net/url"
	"testing"
)

func TestAgentID(t *testing.T) {
	for _, id := range []AgentID{{"example.org", "prod", "node-1.example"}, {"spoor", "", "a"}, {"spoor", "node", "cluster"}} {
		got, err := ParseAgentID([]*url.URL{id.URI()})
		if err != nil || got != id {
			t.Errorf("%s reads as %+v (%v)", id.URI(), got, err)
		}
	}
	for _, bad := range []AgentID{{"", "c", "n"}, {"t", "c", ""}, {"t", "c/d", "n"}, {"t", "..", "n"}, {"t", "c", "a b"}} {
		if bad.Check() == nil {
			t.Errorf("%+v is taken for a name", bad)
		}
	}
}

func TestParseAgentIDRefuses(t *testing.T) {
	if _, err := ParseAgentID(nil); err == nil {
		t.Error("no URI is a name")
	}
	for _, text := range []string{
		"https://t/cluster/c/node/n", "spiffe://t/cluster/c/node/n/more", "spiffe://t/cluster//node/n", "spiffe://t/cluster/c/node/",
		"spiffe://t/ns/c/sa/n", "spiffe://t", "spiffe:///node/n", "spiffe://t:1/node/n", "spiffe://u@t/node/n", "spiffe://t/node/n?q", "spiffe://t/node/n#f",
		"spiffe://t//node/n", "spiffe://t/node/%6e", "spiffe://t/node/a%2Fb", "spiffe://t/cluster/../node/n", "spiffe://t/node/n/",
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if id, err := ParseAgentID([]*url.URL{u}); err == nil {
			t.Errorf("%s reads as %+v", text, id)
		}
	}
	one := AgentID{"t", "c", "n"}.URI()
	if _, err := ParseAgentID([]*url.URL{one, one}); err == nil {
		t.Error("two URIs are one name")
	}
}
