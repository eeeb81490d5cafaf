// SPDX-License-Identifier: Apache-2.0

// Package trust says who may do what at a collector: agents by the names in their certificates, people by tokens with roles.
//
// It checks, and it writes down who asked what. How connections are secured, and what the answers are, is for others.
package trust

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"time"

	"connectrpc.com/connect"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// unauthenticated is no word about what the agent is or brings: it may come again with another certificate.
func unauthenticated(problem string) error {
	return connect.NewError(connect.CodeUnauthenticated, errors.New(problem))
}

// Agent returns the cluster and the node that a certificate is of; nil is none. What hello says may be less, and must not be
// anything else. The certificate of a collector that forwards is of all nodes of the clusters that forwarders has under its name. An
// error of the code Unauthenticated is about the certificate, any other about what it is of.
func Agent(cert *x509.Certificate, hello *spoorv1.Hello, forwarders map[string][]string) (cluster, node string, err error) {
	switch {
	case cert == nil:
		return "", "", unauthenticated("the agent has no certificate of an authority that is trusted here: give it one with --cert, --key and --ca")
	case time.Now().After(cert.NotAfter): // since the connection began
		return "", "", unauthenticated("the agent's certificate has expired")
	}
	if name, ok := forwarderName(cert.URIs); ok {
		clusters, known := forwarders[name]
		switch {
		case !known:
			return "", "", fmt.Errorf("the certificate is of the collector %q, which may not speak for agents here: name it with --forwarders", name)
		case !slices.Contains(clusters, hello.GetCluster()):
			return "", "", fmt.Errorf("the collector %q may not speak for agents of the cluster %q, only of %q: see --forwarders", name, hello.GetCluster(), clusters)
		}
		return hello.GetCluster(), hello.GetNode(), nil
	}
	id, err := spoorv1.ParseAgentID(cert.URIs)
	if err != nil {
		return "", "", err
	}
	for _, c := range []struct{ what, claimed, proven string }{{"cluster", hello.GetCluster(), id.Cluster}, {"node", hello.GetNode(), id.Node}} {
		if c.claimed != "" && c.claimed != c.proven {
			return "", "", fmt.Errorf("the agent says that its %s is %q; its certificate is of %s", c.what, c.claimed, id.URI())
		}
	}
	return id.Cluster, id.Node, nil
}

// forwarderPath is the path of the name of a collector that forwards.
var forwarderPath = regexp.MustCompile(`^/forwarder/([A-Za-z0-9_-][A-Za-z0-9._-]{0,252})$`)

// ForwarderURI returns the name that stands in the certificate of a collector that forwards: spiffe://TRUST/forwarder/NAME.
func ForwarderURI(trust, name string) (*url.URL, error) {
	u := &url.URL{Scheme: "spiffe", Host: trust, Path: "/forwarder/" + name}
	if _, ok := forwarderName([]*url.URL{u}); !ok {
		return nil, fmt.Errorf("%q is no name of a collector: letters, digits, dots, dashes and underscores make one", name)
	}
	return u, nil
}

// forwarderName reads the name that is the only URI of a certificate.
func forwarderName(uris []*url.URL) (name string, ok bool) {
	if len(uris) != 1 {
		return "", false
	}
	match := forwarderPath.FindStringSubmatch(uris[0].Path)
	// Compared as a whole, so that nothing is in it that was not looked at.
	if match == nil || uris[0].Host == "" || uris[0].String() != "spiffe://"+uris[0].Host+uris[0].Path {
		return "", false
	}
	return match[1], true
}
