// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"net"
	"net/url"
	"strings"
)

// CollectorURL reads the URL of a collector as people write it: HOST:PORT is enough.
func CollectorURL(written string) (string, error) {
	address := written
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", BadInput(fmt.Errorf("%q is not the URL of a collector", written),
			"Write --collector http://HOST:PORT, or set SPOOR_COLLECTOR.")
	}
	return strings.TrimSuffix(u.String(), "/"), nil
}

// CheckListen says what is wrong with an address to listen at, as people write it for a flag.
func CheckListen(flag, address string) error {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return BadInput(fmt.Errorf("%s: %q is not an address to listen at", flag, address), "Write for example 127.0.0.1:7070, or :7070 for every address of this host.")
	}
	return nil
}

// CheckServer says what is wrong with the URL of a server, as people write it for a flag.
func CheckServer(flag, written string) error {
	if u, err := url.Parse(written); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return BadInput(fmt.Errorf("%s: %q is not the URL of a server", flag, written), "Write for example http://127.0.0.1:9093.")
	}
	return nil
}
