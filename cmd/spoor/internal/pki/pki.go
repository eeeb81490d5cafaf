// SPDX-License-Identifier: Apache-2.0

// Package pki makes a certificate authority and certificates for collectors and agents: enough to try Spoor on several
// machines, and to see what certificates from elsewhere must have in them.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// The files of the authority in its folder. Certificates of others are there by their names, .crt and .key.
const (
	AuthorityCert = "ca.crt"
	AuthorityKey  = "ca.key"
)

// Pair is a certificate and its key, as PEM.
type Pair struct{ Cert, Key []byte }

// Authority signs.
type Authority struct {
	cert *x509.Certificate
	key  any
}

// early makes certificates good for machines whose clocks are behind.
const early = 5 * time.Minute

// NewAuthority makes an authority whose certificates can name agents of one trust domain only.
func NewAuthority(trust string, valid time.Duration) (Pair, error) {
	if err := (spoorv1.AgentID{Trust: trust, Node: "any"}).Check(); err != nil {
		return Pair{}, err
	}
	t := template("Spoor authority of "+trust, valid)
	t.IsCA, t.BasicConstraintsValid, t.MaxPathLenZero = true, true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	t.PermittedURIDomains, t.PermittedDNSDomainsCritical = []string{trust}, true
	return sign(t, nil)
}

// LoadAuthority reads an authority from its folder.
func LoadAuthority(dir string) (*Authority, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, AuthorityCert), filepath.Join(dir, AuthorityKey))
	if err != nil {
		return nil, err
	}
	if !pair.Leaf.IsCA {
		return nil, fmt.Errorf("%s is no authority's certificate", filepath.Join(dir, AuthorityCert))
	}
	return &Authority{cert: pair.Leaf, key: pair.PrivateKey}, nil
}

// Trust returns the authority's trust domain.
func (a *Authority) Trust() string {
	if len(a.cert.PermittedURIDomains) == 0 {
		return ""
	}
	return a.cert.PermittedURIDomains[0]
}

// Collector makes a certificate for a server with these host names and addresses.
func (a *Authority) Collector(hosts []string, valid time.Duration) (Pair, error) {
	if len(hosts) == 0 {
		return Pair{}, errors.New("a collector needs a name or address that agents reach it by")
	}
	t := template(hosts[0], valid)
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, host)
		}
	}
	return sign(t, a)
}

// Agent makes a certificate for an agent.
func (a *Authority) Agent(cluster, node string, valid time.Duration) (Pair, error) {
	id := spoorv1.AgentID{Trust: a.Trust(), Cluster: cluster, Node: node}
	if err := id.Check(); err != nil {
		return Pair{}, err
	}
	return a.Named(id.URI(), node, valid)
}

// Named makes a certificate for a client that is named by a URI, and by a common name for people.
func (a *Authority) Named(uri *url.URL, name string, valid time.Duration) (Pair, error) {
	t := template(name, valid)
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	t.URIs = []*url.URL{uri}
	return sign(t, a)
}

func template(name string, valid time.Duration) *x509.Certificate {
	if len(name) > 64 {
		name = name[:64] // all that a common name holds; what counts stands elsewhere
	}
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-early), NotAfter: time.Now().Add(valid), KeyUsage: x509.KeyUsageDigitalSignature,
	}
}

// sign makes a key and a certificate for it, signed by a, or by itself.
func sign(t *x509.Certificate, a *Authority) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("make a key: %w", err)
	}
	parent, signer := t, any(key)
	if a != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, key.Public(), signer)
	if err != nil {
		return Pair{}, fmt.Errorf("sign a certificate: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, fmt.Errorf("encode a key: %w", err)
	}
	return Pair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}, nil
}

// Write puts a pair into a folder as NAME.crt and NAME.key, which only its owner may read. Files that are there are replaced
// when that is wanted, each at once; the key first, so that a reader who gets half of it notices.
func (p Pair) Write(dir, name string, replace bool) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	cert, key := filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	if !replace {
		for _, file := range []string{cert, key} {
			if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s is there already", file)
			}
		}
	}
	if err := write(key, p.Key, 0o600); err != nil {
		return err
	}
	return write(cert, p.Cert, 0o644)
}

func write(file string, content []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(file), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
