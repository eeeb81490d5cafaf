// SPDX-License-Identifier: Apache-2.0

package spoorv1

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// idPart is what a segment of a SPIFFE id's path may be made of.
var idPart = regexp.MustCompile(`^[A-Za-z0-9._-]{1,253}$`)

// AgentID names an agent in the URI of its certificate: spiffe://TRUST/cluster/CLUSTER/node/NODE, or spiffe://TRUST/node/NODE
// where there is no cluster.
type AgentID struct {
	// Trust is the trust domain; Cluster may be empty.
	Trust, Cluster, Node string
}

// Check says what is wrong with a name, or returns nil.
func (id AgentID) Check() error {
	for _, p := range []struct{ what, name string }{{"trust domain", id.Trust}, {"cluster", id.Cluster}, {"node", id.Node}} {
		if p.what == "cluster" && p.name == "" {
			continue
		}
		if !idPart.MatchString(p.name) || p.name == "." || p.name == ".." {
			return fmt.Errorf("%q is no name of a %s: letters, digits, dots, dashes and underscores make one", p.name, p.what)
		}
	}
	return nil
}

// URI returns the name as it stands in a certificate.
func (id AgentID) URI() *url.URL {
	u := &url.URL{Scheme: "spiffe", Host: id.Trust, Path: "/node/" + id.Node}
	if id.Cluster != "" {
		u.Path = "/cluster/" + id.Cluster + u.Path
	}
	return u
}

// ParseAgentID reads the name that is the only URI of a certificate.
func ParseAgentID(uris []*url.URL) (AgentID, error) {
	if len(uris) != 1 {
		return AgentID{}, fmt.Errorf("the certificate has %d URIs; an agent's has one, spiffe://TRUST/cluster/CLUSTER/node/NODE", len(uris))
	}
	id := AgentID{Trust: uris[0].Host}
	parts := strings.Split(strings.TrimPrefix(uris[0].Path, "/"), "/")
	switch {
	case len(parts) == 4 && parts[0] == "cluster" && parts[2] == "node":
		id.Cluster, id.Node = parts[1], parts[3]
	case len(parts) == 2 && parts[0] == "node":
		id.Node = parts[1]
	}
	// Compared as a whole, so that nothing is in it that was not looked at.
	if err := id.Check(); err != nil || id.URI().String() != uris[0].String() || len(parts) == 4 && id.Cluster == "" {
		return AgentID{}, fmt.Errorf("the certificate is of %s; an agent's is of spiffe://TRUST/cluster/CLUSTER/node/NODE", uris[0])
	}
	return id, nil
}
