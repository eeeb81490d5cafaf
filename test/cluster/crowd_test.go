// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/spoor/spoor/agent/workload"
	"github.com/spoor/spoor/agent/workload/kube"
)

const (
	// Nodes that are nothing but objects of the API server, and how many pods each has.
	fakeNodes, podsEach = 200, 3
	// What this program is instead of a test when it is started with it: the watchers of those nodes.
	crowdRole = "SPOOR_CLUSTER_CROWD"
)

func TestMain(m *testing.M) {
	if how := os.Getenv(crowdRole); how != "" {
		if err := watchCrowd(how); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// crowd is what the watchers are told.
type crowd struct {
	Kubeconfig string
	// Here the test writes which pods there are, by uid: their nodes. It is read again and again.
	Pods string
}

func fakeNode(i int) string { return fmt.Sprintf("fake%03d", i) }

// watchCrowd runs what an agent runs to know the pods of its node, once for each node, and says each time how many pods are known: by their
// own node's watcher, and by others'.
func watchCrowd(how string) error {
	var c crowd
	if err := json.Unmarshal([]byte(how), &c); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(context.Background())
	directories := map[string]*workload.Directory{}
	for i := range fakeNodes {
		d, err := workload.NewDirectory()
		if err != nil {
			return err
		}
		directories[fakeNode(i)] = d
		logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
		s, err := kube.New(kube.Options{Kubeconfig: c.Kubeconfig, Node: fakeNode(i), Version: "test", Logger: logger})
		if err != nil {
			return err
		}
		g.Go(func() error { return s.Run(ctx, d) })
	}
	g.Go(func() error {
		for ; ; time.Sleep(200 * time.Millisecond) {
			b, err := os.ReadFile(c.Pods)
			if err != nil {
				return err
			}
			var pods map[string]string
			if err := json.Unmarshal(b, &pods); err != nil {
				return err
			}
			own, others := 0, 0
			for uid, node := range pods {
				for name, d := range directories {
					if _, known := d.Volume(uid, "c", "/v"); known && name == node {
						own++
					} else if known {
						others++
					}
				}
			}
			if _, err := fmt.Fprintf(os.Stdout, "known %d, by others %d\n", own, others); err != nil {
				return err
			}
		}
	})
	return g.Wait()
}

// What 202 agents ask the API server: each for its own node's pods, once, and each is told of those alone.
func TestCrowd(t *testing.T) {
	l := newLab(t)
	l.letAgentsAsk()
	center, agents := l.watch()
	l.applyText("crowd.json", crowdNodes(), crowdPods(0))
	list := filepath.Join(l.temp, "pods.json")
	l.writePods(list)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	how, err := json.Marshal(crowd{Kubeconfig: filepath.Join(l.run, "pki", "agent.kubeconfig"), Pods: list})
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	watchers := l.start("crowd", "control", "env", crowdRole+"="+string(how), self)
	known := func(n int) func() bool {
		return func() bool { return strings.HasSuffix(watchers.said(), fmt.Sprintf("known %d, by others 0\n", n)) }
	}
	l.until("all pods are known to their nodes' watchers", known(fakeNodes*podsEach))
	t.Logf("%d watchers knew their %d pods after %v", fakeNodes, fakeNodes*podsEach, time.Since(begun).Round(time.Second))
	// What comes is told without a further question.
	l.applyText("more.json", crowdPods(podsEach))
	l.writePods(list)
	l.until("new pods are known to their nodes' watchers", known(2*fakeNodes*podsEach))
	t.Logf("their process has %v KiB of memory", resident(t, []*daemon{watchers}))
	watchers.kill()
	for _, a := range agents {
		a.stop()
	}
	center.stop()
	l.askedBy(fakeNodes + nodes)
}

func crowdNodes() []map[string]any {
	var all []map[string]any
	for i := range fakeNodes {
		all = append(all, map[string]any{"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"name": fakeNode(i)}})
	}
	return all
}

// crowdPods are pods with numbers from first on, podsEach for each fake node.
func crowdPods(first int) []map[string]any {
	type m = map[string]any
	var all []m
	for i := range fakeNodes {
		for n := first; n < first+podsEach; n++ {
			all = append(all, m{
				"apiVersion": "v1", "kind": "Pod",
				"metadata": m{"name": fmt.Sprintf("%s-%d", fakeNode(i), n), "namespace": "default"},
				"spec": m{
					"nodeName": fakeNode(i), "automountServiceAccountToken": false,
					"containers": []m{{"name": "c", "image": "none", "volumeMounts": []m{{"name": "v", "mountPath": "/v"}}}},
					"volumes":    []m{{"name": "v", "emptyDir": m{}}},
				},
			})
		}
	}
	return all
}

// applyText gives objects to the API server.
func (l *lab) applyText(name string, lists ...[]map[string]any) {
	l.Helper()
	var b bytes.Buffer
	for _, list := range lists {
		for _, object := range list {
			line, err := json.Marshal(object)
			if err != nil {
				l.Fatal(err)
			}
			b.Write(append(line, '\n'))
		}
	}
	path := filepath.Join(l.temp, name)
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		l.Fatal(err)
	}
	l.kubectl("create", "-f", path)
}

// writePods writes which pods there are, by uid: their nodes.
func (l *lab) writePods(path string) {
	l.Helper()
	var is struct {
		Items []struct {
			Metadata struct{ UID string }
			Spec     struct{ NodeName string }
		}
	}
	if err := json.Unmarshal([]byte(l.kubectl("get", "pods", "-n", "default", "-o", "json")), &is); err != nil {
		l.Fatal(err)
	}
	pods := map[string]string{}
	for _, p := range is.Items {
		pods[p.Metadata.UID] = p.Spec.NodeName
	}
	b, err := json.Marshal(pods)
	if err != nil {
		l.Fatal(err)
	}
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		l.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		l.Fatal(err)
	}
}
