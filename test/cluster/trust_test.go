// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
)

// pki returns a file of the authority that certify makes.
func (l *lab) pki(name string) string { return filepath.Join(l.temp, "pki", name) }

// certify makes certificates for the collector and each node's agent, and a token for the test.
func (l *lab) certify() {
	l.Helper()
	l.spoor("pki", "init")
	l.spoor("pki", "collector", "10.99.0.1")
	for _, node := range []string{"node1", "node2"} {
		l.spoor("pki", "agent", "--cluster", clusterName, node)
	}
	entry, said := l.spoor("pki", "token", "--role", "admin", "test")
	if err := os.WriteFile(l.pki("people.yaml"), entry, 0o600); err != nil {
		l.Fatal(err)
	}
	l.token = string(regexp.MustCompile(`spoor_[a-z0-9]+`).Find(said))
}

// spoor runs a command that uses the authority.
func (l *lab) spoor(args ...string) (stdout, stderr []byte) {
	l.Helper()
	cmd := exec.CommandContext(l.Context(), spoor, args...)
	cmd.Env = append(os.Environ(), "SPOOR_PKI="+filepath.Join(l.temp, "pki"))
	var out, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problem
	if err := cmd.Run(); err != nil {
		l.Fatalf("spoor %v: %v\n%s", args, err, &problem)
	}
	return out.Bytes(), problem.Bytes()
}

// authority returns a configuration that trusts what certify made.
func (l *lab) authority() *tls.Config {
	l.Helper()
	pem, err := os.ReadFile(l.pki("ca.crt"))
	if err != nil {
		l.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}
}

// withToken adds a token to requests.
type withToken struct {
	token string
	next  http.RoundTripper
}

func (w withToken) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+w.token)
	return w.next.RoundTrip(r)
}
