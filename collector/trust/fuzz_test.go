// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"crypto/x509"
	"net/url"
	"testing"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// FuzzAgent: whatever URI stands in a certificate, it names an agent, a collector or nobody, and who it names has exactly that URI.
func FuzzAgent(f *testing.F) {
	for _, uri := range []string{
		"spiffe://spoor/cluster/prod/node/a", "spiffe://spoor/node/a", "spiffe://spoor/forwarder/eu", "spiffe://spoor/forwarder/eu?x=y", "spiffe://a@spoor/node/a",
		"spiffe://spoor/cluster//node/a", "spiffe://spoor/node/%61", "https://spoor/node/a", "spiffe:/node/a", "spiffe://spoor/forwarder/..", "SPIFFE://spoor/node/a",
	} {
		f.Add(uri, "prod", "a")
	}
	forwarders := map[string][]string{"eu": {"prod"}}
	f.Fuzz(func(t *testing.T, uri, cluster, node string) {
		u, err := url.Parse(uri)
		if err != nil {
			return
		}
		cert := &x509.Certificate{NotAfter: time.Now().Add(time.Hour), URIs: []*url.URL{u}}
		gotCluster, gotNode, err := Agent(cert, &spoorv1.Hello{Cluster: cluster, Node: node}, forwarders)
		if err != nil {
			return
		}
		if name, ok := forwarderName(cert.URIs); ok {
			own, err := ForwarderURI(u.Host, name)
			if err != nil || own.String() != u.String() || name != "eu" || gotCluster != "prod" || gotNode != node {
				t.Fatalf("%q may speak for %s/%s as %q (%v)", uri, gotCluster, gotNode, name, err)
			}
			return
		}
		if own := (spoorv1.AgentID{Trust: u.Host, Cluster: gotCluster, Node: gotNode}).URI(); own.String() != u.String() || cluster != "" && cluster != gotCluster || node != "" && node != gotNode {
			t.Fatalf("%q, who says %s/%s, is taken for %s/%s", uri, cluster, node, gotCluster, gotNode)
		}
	})
}

// FuzzPeople: whatever is in the file, it names people with a role, or is refused.
func FuzzPeople(f *testing.F) {
	f.Add(`[{name: ann, role: viewer, token: "` + Digest("of-ann") + `"}, {group: sre, role: admin, clusters: [prod]}]`)
	f.Add("- {name: ann")
	f.Add("- name: &a ann\n  role: *a\n")
	f.Fuzz(func(t *testing.T, content string) {
		all, err := parsePeople([]byte(content))
		if err != nil {
			return
		}
		for _, p := range all.tokens {
			if p.Name == "" || p.Role < Viewer || p.Role > Admin || p.Clusters != nil && len(p.Clusters) == 0 {
				t.Fatalf("%+v is taken for a person", p)
			}
		}
		for _, g := range all.groups {
			if g.name == "" || g.role < Viewer || g.role > Admin || g.clusters != nil && len(g.clusters) == 0 {
				t.Fatalf("%+v is taken for a group", g)
			}
		}
	})
}
