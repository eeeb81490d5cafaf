// SPDX-License-Identifier: Apache-2.0

// Package trust says who may do what at a collector: agents by the names in their certificates, people by tokens with roles.
//
// It checks, and it writes down who asked what. How connections are secured, and what the answers are, is for others.
package trust

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// unauthenticated is no word about what the agent is or brings: it may come again with another certificate.
func unauthenticated(problem string) error {
	return connect.NewError(connect.CodeUnauthenticated, errors.New(problem))
}

// Agent returns the cluster and the node that a certificate is of; nil is none. What hello says may be less, and must not be
// anything else. An error of the code Unauthenticated is about the certificate, any other about what it is of.
func Agent(cert *x509.Certificate, hello *spoorv1.Hello) (cluster, node string, err error) {
	switch {
	case cert == nil:
		return "", "", unauthenticated("the agent has no certificate of an authority that is trusted here: give it one with --cert, --key and --ca")
	case time.Now().After(cert.NotAfter): // since the connection began
		return "", "", unauthenticated("the agent's certificate has expired")
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
