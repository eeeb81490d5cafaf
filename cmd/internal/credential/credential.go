// SPDX-License-Identifier: Apache-2.0

// Package credential reads certificates and keys from files, and again when they have changed: whoever renews them need
// not restart anybody.
//
// There is no watching: the files are looked at when a connection begins, at most once a second. What cannot be read then, or
// does not fit together because only half of it has been renewed, is reported once, and what was read before goes on.
package credential

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Files names PEM files.
type Files struct {
	// The own certificate, with those between it and the authority, and its key; both or none.
	Cert, Key string
	// Certificates of the authorities that the other side is checked by; "" takes the system's for servers.
	CA string
}

// lookEvery is how often the files are looked at, at most.
const lookEvery = time.Second

// Source is what is in the files.
type Source struct {
	files Files
	log   *slog.Logger
	every time.Duration

	mu      sync.Mutex
	looked  time.Time
	sum     [sha256.Size]byte
	failed  string
	version uint64
	pair    *tls.Certificate // nil without one
	pool    *x509.CertPool   // nil without one
}

// Open reads the files.
func Open(f Files, logger *slog.Logger) (*Source, error) {
	if (f.Cert == "") != (f.Key == "") {
		return nil, errors.New("a certificate needs its key, and a key its certificate")
	}
	s := &Source{files: f, log: logger, every: lookEvery}
	if err := s.read(); err != nil {
		return nil, err
	}
	return s, nil
}

// read reads the files, and takes what is in them when it is sound and not what was there before.
func (s *Source) read() error {
	var content [3][]byte
	sum := sha256.New()
	for i, name := range []string{s.files.Cert, s.files.Key, s.files.CA} {
		if name == "" {
			continue
		}
		var err error
		if content[i], err = os.ReadFile(name); err != nil {
			return err
		}
		inner := sha256.Sum256(content[i])
		sum.Write(inner[:])
	}
	now := [sha256.Size]byte(sum.Sum(nil))
	if s.version > 0 && now == s.sum {
		return nil
	}
	var pair *tls.Certificate
	if s.files.Cert != "" {
		p, err := tls.X509KeyPair(content[0], content[1])
		if err != nil {
			return fmt.Errorf("%s and %s: %w", s.files.Cert, s.files.Key, err)
		}
		pair = &p
	}
	var pool *x509.CertPool
	if s.files.CA != "" {
		pool = x509.NewCertPool()
		if !pool.AppendCertsFromPEM(content[2]) {
			return fmt.Errorf("%s: there is no certificate in it", s.files.CA)
		}
	}
	if s.version > 0 {
		s.log.Info("certificates were renewed", "certificate", s.files.Cert, "authority", s.files.CA)
	}
	s.sum, s.pair, s.pool, s.failed = now, pair, pool, ""
	s.version++
	return nil
}

// look reads the files again when it is time to.
func (s *Source) look() (pair *tls.Certificate, pool *x509.CertPool, version uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.looked) >= s.every {
		s.looked = now
		if err := s.read(); err != nil && err.Error() != s.failed {
			s.failed = err.Error()
			s.log.Error("certificates cannot be read again; those from before stay in use", "error", err)
		}
	}
	return s.pair, s.pool, s.version
}

// Server returns a configuration for a server that asks clients for certificates of the authority and takes those without:
// what they may do is for the handler to say.
func (s *Source) Server() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			pair, pool, _ := s.look()
			if pair == nil {
				return nil, errors.New("the server has no certificate")
			}
			c := &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"h2", "http/1.1"}, Certificates: []tls.Certificate{*pair}}
			if pool != nil {
				c.ClientAuth, c.ClientCAs = tls.VerifyClientCertIfGiven, pool
			}
			return c, nil
		},
	}
}

// Client returns a configuration for a client, and a number that is another one after each renewal.
func (s *Source) Client() (*tls.Config, uint64) {
	pair, pool, version := s.look()
	c := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool}
	if pair != nil {
		c.Certificates = []tls.Certificate{*pair}
	}
	return c, version
}

// Leaf returns the own certificate, or nil.
func (s *Source) Leaf() *x509.Certificate {
	pair, _, _ := s.look()
	if pair == nil {
		return nil
	}
	return pair.Leaf
}
