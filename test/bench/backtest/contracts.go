// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// writeContracts writes two versions of what was agreed about the shop: the proposed one allows some calls to the Internet, and lacks
// some callers.
func writeContracts(dir string) error {
	for _, name := range []string{"current", "proposed"} {
		var all []string
		for s := range services {
			all = append(all, document(s, name == "proposed"))
		}
		if err := os.WriteFile(filepath.Join(dir, name+".yaml"), []byte(strings.Join(all, "---\n")), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func document(service int, proposed bool) string {
	var callers, calls strings.Builder
	for k := range 3 {
		fmt.Fprintf(&calls, "\n    - {workload: Deployment/service-%d, port: 8080}", (service+1+k)%services)
		if k < 2 || !proposed || service%6 > 0 {
			fmt.Fprintf(&callers, "\n    - {workload: Deployment/service-%d, port: 8080}", (service+services-1-k)%services)
		}
	}
	if proposed {
		calls.WriteString("\n    - {cidr: 198.51.100.0/28, port: 443}")
	}
	return fmt.Sprintf(`apiVersion: spoor.dev/v1
kind: Contract
metadata: {name: service-%[1]d, namespace: shop}
spec:
  workload: {kind: Deployment, name: service-%[1]d}
  state: stateless
  scratch: [{path: /tmp/**, maxAge: 10m}]
  volumes: [{path: /var/cache/tpl, class: cache}]
  listens: [{port: 8080}]
  callers:%[2]s
  calls:%[3]s
`, service, callers.String(), calls.String())
}
