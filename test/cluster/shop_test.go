// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/test/scene"
)

// Every event of the shop has the right workload, instance and storage, and both ends of every flow are named.
func TestShop(t *testing.T) {
	const outsiders = 20
	l := newLab(t)
	l.letAgentsAsk()
	center, agents := l.watch("--contracts", "testdata/labels")
	l.drive()

	l.kubectl("apply", "-f", l.apply("services.yaml"))
	receipts := filepath.Join(l.run, "receipts")
	l.kubectl("apply", "-f", l.apply("shop.yaml", "@DISK@", filepath.Join(l.run, "node2", "disk"), "@DESK@", filepath.Join(l.run, "node2", "desk"), "@RECEIPTS@", receipts))
	l.kubectl("apply", "-f", l.apply("archive.yaml"))
	for _, owner := range []string{"deployment/archive", "deployment/storefront", "deployment/catalogue", "deployment/payments", "statefulset/orders", "daemonset/meter"} {
		l.kubectl("rollout", "status", owner, "-n", namespace, "--timeout=90s")
	}
	storefront := strings.TrimSpace(l.kubectl("get", "service", "storefront", "-n", namespace, "-o", "jsonpath={.spec.clusterIP}"))
	// In the node's network, one calls the service's address, the other a port of the node.
	for name, address := range map[string]string{"neighbour": storefront + ":80", "visitor": nodeAddress + ":30080"} {
		manifest, err := os.ReadFile(l.apply("static.yaml", "@NAME@", name, "@STOREFRONT@", address))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(l.run, "node1", "manifests", name+".yaml"), manifest, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l.buyFromOutside(outsiders)
	l.kubectl("apply", "-f", l.apply("customers.yaml"))
	l.kubectl("wait", "job/customers", "job/blinks", "-n", namespace, "--for=condition=Complete", "--timeout=120s")
	for _, name := range []string{"passer-by", "neighbour-node1", "visitor-node1"} {
		l.kubectl("wait", "pod/"+name, "-n", namespace, "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
	}
	l.until("what was planned each minute", func() bool {
		var jobs struct {
			Items []struct {
				Metadata struct{ Name string }
				Status   struct{ Succeeded int }
			}
		}
		l.get("jobs", &jobs)
		for _, j := range jobs.Items {
			if strings.HasPrefix(j.Metadata.Name, "regular-") && j.Status.Succeeded == 1 {
				return true
			}
		}
		return false
	})
	l.kubectl("patch", "cronjob/regular", "-n", namespace, "-p", `{"spec":{"suspend":true}}`)
	l.drivenByTheNodeAlone()
	for _, a := range agents { // what they have not told they tell at their end
		a.stop()
	}
	truth := l.truth()
	events, err := scene.Events(t.Context(), l.ask(), &spoorv1.EventFilter{})
	if err != nil {
		t.Fatal(err)
	}
	l.record()
	l.foundByLabels()
	center.stop()
	l.keep(events)
	newCheck(l, truth).all(events)
	l.askedBy(nodes)
}

// buyFromOutside buys so often where no agent is, through the port of a node: some of those who sell are on the other one, so that neither end is
// on the node in between.
// A shop that is just opening may refuse.
func (l *lab) buyFromOutside(times int) {
	l.Helper()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		return dial(ctx, "control", network, address)
	}}
	client := &http.Client{Transport: transport, Timeout: patience}
	for range times {
		l.until("an answer to somebody from outside", func() bool {
			answer, err := client.Post("http://"+otherNodeAddress+":30080/buy", "text/plain", strings.NewReader("7"))
			if err != nil {
				return false
			}
			return answer.Body.Close() == nil && answer.StatusCode == http.StatusOK
		})
	}
}

// foundByLabels looks at what contracts that select by labels find, in testdata/labels: what one with a name says comes first, and whoever lacks the label
// is not concerned.
func (l *lab) foundByLabels() {
	l.Helper()
	answer, err := l.ask().ListFindings(l.Context(), connect.NewRequest(&spoorv1.ListFindingsRequest{Rule: "flow.listener"}))
	if err != nil {
		l.Fatal(err)
	}
	var got []string
	for _, f := range answer.Msg.GetFindings() {
		got = append(got, f.GetWorkload().Path()+" "+f.GetSubject()+" by "+f.GetContract())
	}
	slices.Sort(got)
	if want := []string{clusterName + "/shop/Deployment/storefront *:8080/tcp by shop/fronts"}; !slices.Equal(got, want) {
		l.Errorf("found %q, want %q", got, want)
	}
}

// record leaves what happened, and what the cluster is made of, where test/formats reads it: build/shop.
func (l *lab) record() {
	l.Helper()
	dir := filepath.Join("..", "..", "build", "shop")
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		l.Fatal(err)
	}
	l.command("nsenter", "--net=/run/netns/spoor-control", spoor, "record", filepath.Join(dir, "events.jsonl.gz"), "--collector", collector, "--ca", l.pki("ca.crt"), "--token", l.token)
	made := l.kubectl("get", "deployments,statefulsets,daemonsets,jobs,cronjobs,services,pods", "-n", namespace, "-o", "yaml")
	if err := os.WriteFile(filepath.Join(dir, "cluster.yaml"), []byte(made), 0o600); err != nil {
		l.Fatal(err)
	}
}

// keep writes events beside the logs, one a line as JSON.
func (l *lab) keep(events []*spoorv1.Event) {
	var b bytes.Buffer
	for _, ev := range events {
		line, err := protojson.Marshal(ev)
		if err != nil {
			l.Fatal(err)
		}
		b.Write(append(line, '\n'))
	}
	if err := os.WriteFile(filepath.Join(l.run, "log", "events"), b.Bytes(), 0o600); err != nil {
		l.Fatal(err)
	}
}

// letAgentsAsk allows them what an agent needs to know who made the pods of its node.
func (l *lab) letAgentsAsk() {
	l.kubectl("create", "clusterrole", "spoor-agent", "--verb=list,watch", "--resource=pods")
	l.kubectl("create", "clusterrolebinding", "spoor-agent", "--clusterrole=spoor-agent", "--user=spoor-agent")
}

// watch starts a collector, with more arguments, and an agent for each node. They share a kernel, so each reports the branch of the cgroups that is its node.
func (l *lab) watch(args ...string) (center *daemon, agents []*daemon) {
	l.Helper()
	l.certify()
	center = l.start("collector", "control", append([]string{
		spoor, "collector", "--listen", "10.99.0.1:7070", "--data", filepath.Join(l.temp, "data"),
		"--tls-cert", l.pki("collector.crt"), "--tls-key", l.pki("collector.key"), "--agents-ca", l.pki("ca.crt"), "--people", l.pki("people.yaml"),
	}, args...)...)
	l.until("the collector", func() bool { return strings.Contains(center.said(), "10.99.0.1:7070") })
	for i := 1; i <= nodes; i++ {
		node := fmt.Sprintf("node%d", i)
		a := l.start("agent"+node, node, spoorAgent, "--collector", collector, "--cluster", clusterName, "--node", node,
			"--ca", l.pki("ca.crt"), "--cert", l.pki(clusterName+"."+node+".crt"), "--key", l.pki(clusterName+"."+node+".key"),
			"--cgroup", "/spoor-"+node, "--cri-socket", "/run/spoor-cluster/"+node+"/containerd.sock",
			"--kubeconfig", filepath.Join(l.run, "pki", "agent.kubeconfig"), "--pin", "off")
		l.until("the agent of "+node, func() bool { return strings.Contains(a.said(), "tells of this node's pods") })
		agents = append(agents, a)
	}
	return center, agents
}

// askedBy reports how often so many agents asked the API server, and fails when that is more than to list and to watch now and then.
func (l *lab) askedBy(agents int) {
	l.Helper()
	f, err := os.Open(filepath.Join(l.run, "log", "audit"))
	if err != nil {
		l.Fatal(err)
	}
	defer f.Close()
	count := map[string]int{}
	for lines := json.NewDecoder(f); lines.More(); {
		var line struct {
			User                     struct{ Username string }
			Verb                     string
			ObjectRef                struct{ Resource string }
			RequestReceivedTimestamp time.Time
		}
		if err := lines.Decode(&line); err != nil {
			l.Fatal(err)
		}
		if line.User.Username == "spoor-agent" {
			count[line.Verb+" "+line.ObjectRef.Resource]++
		}
	}
	// Two lines for each watch: when it begins and when it ends.
	l.Logf("what %d agents asked the API server: %v", agents, count)
	if n := count["list pods"] + count["watch pods"]; n == 0 || n > 4*agents || len(count) > 2 {
		l.Errorf("%d agents asked the API server %v", agents, count)
	}
}
