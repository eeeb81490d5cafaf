// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// apiServer asks that of the cluster, as an administrator.
type apiServer struct {
	*lab
	client *http.Client
}

func (l *lab) apiServer() *apiServer {
	l.Helper()
	file := func(name string) string { return filepath.Join(l.run, "pki", name) }
	pair, err := tls.LoadX509KeyPair(file("admin.crt"), file("admin.key"))
	if err != nil {
		l.Fatal(err)
	}
	ca, err := os.ReadFile(file("ca.crt"))
	if err != nil {
		l.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, MinVersion: tls.VersionTLS13},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return dial(ctx, "control", network, address)
		},
	}
	l.Cleanup(transport.CloseIdleConnections)
	return &apiServer{l, &http.Client{Transport: transport}}
}

// send makes a request that must be taken in every detail: an unknown field is an error. It returns the status code, the answer, and what the
// server warns of.
func (a *apiServer) send(method, path, contentType string, dryRun bool, body []byte) (status int, answer []byte, warnings []string) {
	a.Helper()
	path += "?fieldValidation=Strict&fieldManager=test"
	if dryRun {
		path += "&dryRun=All"
	}
	req, err := http.NewRequestWithContext(a.Context(), method, "https://10.99.0.1:6443"+path, bytes.NewReader(body))
	if err != nil {
		a.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := a.client.Do(req)
	if err != nil {
		a.Fatal(err)
	}
	defer resp.Body.Close()
	if answer, err = io.ReadAll(resp.Body); err != nil {
		a.Fatal(err)
	}
	return resp.StatusCode, answer, resp.Header.Values("Warning")
}

// resources says below which path objects of a kind are made.
func resources(o *unstructured.Unstructured) string {
	group := "/apis/" + o.GetAPIVersion()
	if !strings.Contains(o.GetAPIVersion(), "/") {
		group = "/api/" + o.GetAPIVersion()
	}
	name := strings.ToLower(o.GetKind()) + "s"
	if before, ok := strings.CutSuffix(name, "ys"); ok {
		name = before + "ies"
	}
	return group + "/namespaces/" + o.GetNamespace() + "/" + name
}

// objects reads YAML documents.
func (l *lab) objects(text []byte) (all []*unstructured.Unstructured) {
	l.Helper()
	for d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096); ; {
		o := &unstructured.Unstructured{}
		if err := d.Decode(o); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			l.Fatalf("%v:\n%s", err, text)
		}
		all = append(all, o)
	}
}

func (l *lab) json(o *unstructured.Unstructured) []byte {
	l.Helper()
	text, err := o.MarshalJSON()
	if err != nil {
		l.Fatal(err)
	}
	return text
}

// exported runs `spoor contract export`, which may say that there are differences.
func (l *lab) exported(args ...string) []*unstructured.Unstructured {
	l.Helper()
	cmd := exec.CommandContext(l.Context(), spoor, append([]string{"contract", "export"}, args...)...)
	var problem bytes.Buffer
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != 1) {
		l.Fatalf("%v: %v: %s", cmd.Args, err, problem.Bytes())
	}
	return l.objects(out)
}

// contractsOfShop are the contracts of testdata, one a file and by name of their workload, and those learned from a recording of the shop.
func (l *lab) contractsOfShop() (files []string) {
	l.Helper()
	dir := filepath.Join(l.temp, "contracts")
	l.command(spoor, "contract", "learn", "--recording", "../formats/testdata/shop/events.jsonl.gz", "--workload", "shop/*/*",
		"--for", "1s", "--quiet", "1s", "--instances", "1", "--out", dir)
	for _, kind := range []string{"deployment-*", "statefulset-*", "daemonset-*"} {
		learned, err := filepath.Glob(filepath.Join(dir, "shop", kind+".yaml"))
		if err != nil {
			l.Fatal(err)
		}
		files = append(files, learned...)
	}
	if len(files) != 5 {
		l.Fatalf("contracts were learned: %v", files)
	}
	return append(files, "testdata/everything.yaml")
}

// A real API server takes everything that contracts are exported to, and contracts themselves, without an unknown field or a warning.
func TestExports(t *testing.T) {
	l := startCluster(t, 0)
	a := l.apiServer()
	l.kubectl("apply", "-f", "../../deploy/kubernetes/crd/contracts.yaml", "-f", filepath.Join(l.run, "..", "ciliumnetworkpolicies.yaml"))
	for _, crd := range []string{"contracts.spoor.dev", "ciliumnetworkpolicies.cilium.io"} {
		l.until(crd, func() bool {
			return strings.Contains(l.kubectl("get", "crd", crd, "-o", "jsonpath={.status.conditions}"), `"status":"True","type":"Established"`)
		})
	}
	l.kubectl("apply", "-f", l.apply("services.yaml"))
	l.kubectl("apply", "-f", l.apply("shop.yaml", "@DISK@", "/disk", "@DESK@", "/desk", "@RECEIPTS@", "/receipts"))
	manifests := filepath.Join(l.temp, "cluster.yaml")
	if err := os.WriteFile(manifests, []byte(l.kubectl("get", "deploy,sts,ds,svc", "-A", "-o", "yaml")), 0o600); err != nil {
		t.Fatal(err)
	}
	taken := map[string]int{}
	var last *unstructured.Unstructured
	for _, file := range l.contractsOfShop() {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		made := l.objects(text)
		for _, as := range []string{"networkpolicy", "cilium"} {
			made = append(made, l.exported(as, file, "--manifests", manifests)...)
		}
		for _, o := range made {
			if status, answer, warnings := a.send(http.MethodPost, resources(o), "application/json", true, l.json(o)); status != http.StatusCreated || warnings != nil {
				t.Errorf("%s of %s: %d %s %v\n%s", o.GetKind(), file, status, answer, warnings, l.json(o))
			}
			taken[o.GetKind()]++
			last = o
		}
		if valid, _ := a.kubeconform(made...); valid != len(made) {
			t.Errorf("kubeconform takes %d of the %d objects of %s", valid, len(made), file)
		}
		for _, patch := range l.exported("readonly", file, "--manifests", manifests) {
			a.patch(patch)
			taken["patch"]++
		}
	}
	// What the server refuses, so that what it takes says something.
	spoilt := last.DeepCopy()
	if err := unstructured.SetNestedField(spoilt.Object, "x", "spec", "ingres"); err != nil {
		t.Fatal(err)
	}
	if status, answer, _ := a.send(http.MethodPost, resources(spoilt), "application/json", true, l.json(spoilt)); status != http.StatusBadRequest || !bytes.Contains(answer, []byte("unknown field")) {
		t.Errorf("an unknown field was taken: %d %s", status, answer)
	}
	if _, invalid := a.kubeconform(spoilt); invalid != 1 {
		t.Error("kubeconform takes an unknown field")
	}
	want := map[string]int{"Contract": 6, "NetworkPolicy": 6, "CiliumNetworkPolicy": 6, "patch": 6}
	t.Logf("taken: %v", taken)
	if fmt.Sprint(taken) != fmt.Sprint(want) {
		t.Errorf("taken: %v, want %v", taken, want)
	}
}

// podTemplate is what a patch changes.
type podTemplate struct {
	Spec struct {
		Template struct {
			Spec struct {
				Containers []struct {
					Name, Image     string
					SecurityContext struct{ ReadOnlyRootFilesystem bool }
					VolumeMounts    []struct{ Name, MountPath string }
				}
				Volumes []map[string]any
			}
		}
	}
}

// patch merges a patch into its owner as the server does it, twice dry and once for good, and looks at what came of it.
func (a *apiServer) patch(p *unstructured.Unstructured) {
	a.Helper()
	before, after, asked := a.template(p), podTemplate{}, podTemplate{}
	path := resources(p) + "/" + p.GetName()
	for _, dry := range []bool{true, false} {
		status, answer, warnings := a.send(http.MethodPatch, path, "application/strategic-merge-patch+json", dry, a.json(p))
		if status != http.StatusOK || warnings != nil {
			a.Fatalf("%s: %d %s %v\n%s", path, status, answer, warnings, a.json(p))
		}
		if err := json.Unmarshal(answer, &after); err != nil {
			a.Fatal(err)
		}
	}
	if err := json.Unmarshal(a.json(p), &asked); err != nil {
		a.Fatal(err)
	}
	b, c := before.Spec.Template.Spec, after.Spec.Template.Spec
	if len(c.Containers) != len(b.Containers) || c.Containers[0].Image != b.Containers[0].Image || !c.Containers[0].SecurityContext.ReadOnlyRootFilesystem {
		a.Errorf("%s has become %+v", path, c)
	}
	for _, was := range b.Containers[0].VolumeMounts {
		if !slices.Contains(c.Containers[0].VolumeMounts, was) {
			a.Errorf("%s no longer has %v: %+v", path, was, c)
		}
	}
	for _, mount := range asked.Spec.Template.Spec.Containers[0].VolumeMounts {
		if !slices.Contains(c.Containers[0].VolumeMounts, mount) {
			a.Errorf("%s has no %v: %+v", path, mount, c)
		}
	}
	if want := len(b.Volumes) + len(asked.Spec.Template.Spec.Volumes); len(c.Volumes) != want {
		a.Errorf("%s has %d volumes, want %d: %+v", path, len(c.Volumes), want, c)
	}
}

func (a *apiServer) template(p *unstructured.Unstructured) (t podTemplate) {
	a.Helper()
	if err := json.Unmarshal([]byte(a.kubectl("get", strings.ToLower(p.GetKind()), p.GetName(), "-n", p.GetNamespace(), "-o", "json")), &t); err != nil {
		a.Fatal(err)
	}
	return t
}
