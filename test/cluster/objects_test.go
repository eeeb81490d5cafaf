// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// agreement is a contract as an object of a namespace, about a workload.
func (l *lab) agreement(namespace, name, workload string) string {
	l.Helper()
	path := filepath.Join(l.temp, name+".yaml")
	text := fmt.Sprintf("{apiVersion: spoor.dev/v1, kind: Contract, metadata: {name: %s, namespace: %s}, spec: {workload: %s, listens: [{port: 80}]}}", name, namespace, workload)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		l.Fatal(err)
	}
	return path
}

// A collector follows the contracts that are objects of a real API server, with no right but to read those, and takes none for another namespace.
func TestContractObjects(t *testing.T) {
	l := startCluster(t, 0)
	l.kubectl("apply", "-f", "../../deploy/kubernetes/crd/contracts.yaml")
	l.kubectl("apply", "-f", "../../deploy/kubernetes/contracts/rbac.yaml")
	l.kubectl("create", "clusterrolebinding", "test", "--clusterrole=spoor-collector-contracts", "--user=spoor-agent")
	for _, namespace := range []string{"shop", "yard"} {
		l.kubectl("create", "namespace", namespace)
	}
	l.until("the definition of contracts", func() bool {
		return strings.Contains(l.kubectl("get", "crd", "contracts.spoor.dev", "-o", "jsonpath={.status.conditions}"), `"status":"True","type":"Established"`)
	})
	l.kubectl("apply", "-f", l.agreement("shop", "early", "{namespace: shop, kind: Deployment, name: early}"))
	c := l.start("collector", "control", spoor, "collector", "--without-tls", "--listen", "127.0.0.1:7070", "--data", filepath.Join(l.temp, "data"),
		"--contracts-from-cluster", clusterName, "--kubeconfig", filepath.Join(l.run, "pki", "agent.kubeconfig"))
	l.until("the contract that was there", func() bool { return strings.Contains(c.said(), `msg="contracts changed" contracts=1`) })
	l.kubectl("apply", "-f", l.agreement("shop", "late", "{matchExpressions: [{key: tier, operator: In, values: [late]}, {key: canary, operator: DoesNotExist}]}"))
	l.until("a second one", func() bool { return strings.Contains(c.said(), `msg="contracts changed" contracts=2`) })
	l.kubectl("apply", "-f", l.agreement("yard", "thief", "{namespace: shop, kind: Deployment, name: thief}"))
	l.until("a refusal", func() bool {
		return strings.Contains(c.said(), "object=yard/thief") && strings.Contains(c.said(), "an object speaks for its own namespace alone")
	})
	// What can be no contract never becomes an object.
	a := l.apiServer()
	for expression, wrong := range map[string]string{
		"{key: tier, operator: Equals, values: [a]}":     "Unsupported value",
		"{key: tier, operator: In}":                      "values",
		"{key: tier, operator: In, values: []}":          "should have at least 1 items",
		"{key: tier, operator: Exists, values: [a]}":     "one and only one schema (oneOf)",
		"{key: tier, operator: NotIn, values: [\"b*\"]}": "should match",
		"{key: tier, operator: Exists, value: [a]}":      "unknown field",
		"{operator: Exists}":                             "key: Required value",
	} {
		text, err := os.ReadFile(l.agreement("shop", "wrong", "{matchExpressions: ["+expression+"]}"))
		if err != nil {
			t.Fatal(err)
		}
		o := l.objects(text)[0]
		if status, answer, _ := a.send(http.MethodPost, resources(o), "application/json", true, l.json(o)); status/100 != 4 || !bytes.Contains(answer, []byte(wrong)) {
			t.Errorf("%s: %d %s, want %q", expression, status, answer, wrong)
		}
	}
	l.kubectl("delete", "contract", "early", "late", "-n", "shop")
	l.until("that none is left", func() bool { return strings.Contains(c.said(), `msg="contracts changed" contracts=0`) })
	c.stop()
	if n := strings.Count(c.said(), "object=yard/thief"); n != 1 {
		t.Errorf("it was refused %d times:\n%s", n, c.said())
	}
}
