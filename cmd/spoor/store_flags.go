// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spoor/spoor/cmd/internal/cli"
	"github.com/spoor/spoor/collector/store/clickhouse"
)

// storeFlags name a store that collectors share.
type storeFlags struct {
	Store             string `help:"Keep events in ClickHouse instead of under --data, also those of other collectors: clickhouse://[user@]host[:port][,host...]/database[?secure=true&cluster=NAME], of its HTTP interface." placeholder:"URL"`
	StorePasswordFile string `help:"File with the password of the user in --store." placeholder:"FILE"`
	StoreCA           string `name:"store-ca" help:"Certificates of the authorities that servers of --store are checked by, as PEM; those of this host by default." placeholder:"FILE"`
}

// fleetStore is a store that collectors share; the zero value is none.
type fleetStore struct {
	address *clickhouse.Address
	trust   *tls.Config
}

func (f *storeFlags) open() (s fleetStore, err error) {
	if f.Store == "" {
		if f.StorePasswordFile != "" || f.StoreCA != "" {
			return s, cli.BadInput(errors.New("--store-password-file and --store-ca belong to --store, which is missing"), "")
		}
		return s, nil
	}
	if s.address, err = clickhouse.ParseAddress(f.Store); err != nil {
		return s, cli.BadInput(fmt.Errorf("--store: %w", err), "")
	}
	if f.StorePasswordFile != "" {
		password, err := os.ReadFile(f.StorePasswordFile)
		if err != nil {
			return s, cli.BadInput(fmt.Errorf("--store-password-file: %w", err), "")
		}
		s.address.Password = strings.TrimRight(string(password), "\r\n")
	}
	if s.address.Password != "" && s.address.User == "" {
		return s, cli.BadInput(errors.New("--store has a password and no user"), "Write clickhouse://user@host/database.")
	}
	if f.StoreCA == "" {
		return s, nil
	}
	if !s.address.Secure {
		return s, cli.BadInput(errors.New("--store-ca is given, and --store does not say secure=true"), "")
	}
	pem, err := os.ReadFile(f.StoreCA)
	if err != nil {
		return s, cli.BadInput(fmt.Errorf("--store-ca: %w", err), "")
	}
	s.trust = &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	if !s.trust.RootCAs.AppendCertsFromPEM(pem) {
		return s, cli.BadInput(fmt.Errorf("--store-ca: %s has no certificate", f.StoreCA), "It must be PEM: -----BEGIN CERTIFICATE-----.")
	}
	return s, nil
}
