// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
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
