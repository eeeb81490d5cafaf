// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spoor/spoor/agent/workload"
)

// server is an API server with pods of one node.
type server struct {
	t        *testing.T
	mu       sync.Mutex
	pods     []*metav1.PartialObjectMetadata
	changed  chan struct{}
	requests []string
	refuse   bool
}

func pod(name, uid string, owner *metav1.OwnerReference, labels map[string]string) *metav1.PartialObjectMetadata {
	p := &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", UID: types.UID(uid), Labels: labels, ResourceVersion: "7"},
	}
	if owner != nil {
		yes := true
		owner.Controller = &yes
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Other", Name: "not-the-controller"}, *owner}
	}
	return p
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	refuse := s.refuse
	q := r.URL.Query()
	s.requests = append(s.requests, r.URL.Path+" "+q.Get("fieldSelector"))
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if refuse {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403}`)
		return
	}
	if q.Get("watch") == "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		list := metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}}
		list.ResourceVersion = "7"
		for _, p := range s.pods {
			list.Items = append(list.Items, *p)
		}
		if err := json.NewEncoder(w).Encode(list); err != nil {
			s.t.Error(err)
		}
		return
	}
	s.watch(w, r, q.Get("sendInitialEvents") == "true")
}

// watch sends what is there, when it is asked for, and what comes.
func (s *server) watch(w http.ResponseWriter, r *http.Request, all bool) {
	sent := 0
	if !all {
		sent = len(s.pods)
	}
	encoder := json.NewEncoder(w)
	send := func(kind string, p *metav1.PartialObjectMetadata) {
		if err := encoder.Encode(map[string]any{"type": kind, "object": p}); err != nil {
			return // the client went away
		}
	}
	for {
		s.mu.Lock()
		for ; sent < len(s.pods); sent++ {
			send("ADDED", s.pods[sent])
		}
		changed, refuse := s.changed, s.refuse
		s.mu.Unlock()
		if refuse {
			return
		}
		if all {
			all = false
			end := pod("", "", nil, nil)
			end.Annotations = map[string]string{metav1.InitialEventsAnnotationKey: "true"}
			send("BOOKMARK", end)
		}
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

func (s *server) change(fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn()
	close(s.changed)
	s.changed = make(chan struct{})
}

func kubeconfig(t *testing.T, url, user string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "kubeconfig")
	content := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: x, contexts: [{name: x, context: {cluster: c, user: u}}],
clusters: [{name: c, cluster: {server: %q}}], users: [{name: u, user: {%s}}]}`, url, user)
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestOwnersOfTheNodesPods(t *testing.T) {
	s := &server{t: t, changed: make(chan struct{})}
	s.pods = []*metav1.PartialObjectMetadata{
		pod("web-5d8-bcdfg", "a", &metav1.OwnerReference{Kind: "ReplicaSet", Name: "web-5d8"}, map[string]string{"pod-template-hash": "5d8", "app": "web"}),
		pod("bare", "b", nil, nil),
	}
	listener := httptest.NewServer(s)
	defer listener.Close()
	source, err := New(Options{Kubeconfig: kubeconfig(t, listener.URL, "token: x"), Node: "node-1", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	d, err := workload.NewDirectory()
	if err != nil {
		t.Fatal(err)
	}
	d.Follow(true)
	r, err := workload.New(workload.Options{Node: "n", Directory: d})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- source.Run(ctx, d) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()

	n := uint64(100)
	owner := func(uid, want string) {
		t.Helper()
		n++
		id := fmt.Sprintf("%064x", n)
		// The labels tell something else: the API server's word counts.
		d.AddContainer(workload.Container{ID: id, Name: "app", Pod: &workload.Pod{UID: uid, Namespace: "shop", Name: uid, Controller: workload.Controller{Kind: "Pod", Name: uid}}})
		r.Learn(n, "/x/"+id, time.Time{})
		got := ""
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			r.Settle(time.Unix(1, 0))
			w := r.Of(n, 0, false).Proto().GetWorkload()
			if got = w.GetKind() + "/" + w.GetName(); got == want && !r.Of(n, 0, false).Pending() {
				return
			}
		}
		t.Fatalf("pod %s belongs to %s, want %s", uid, got, want)
	}
	owner("a", "Deployment/web")
	if p := r.Of(n, 0, false).Proto(); !maps.Equal(p.GetLabels(), map[string]string{"app": "web"}) || !p.GetLabelsKnown() {
		t.Errorf("its labels are %v, known: %v, want those of the API server", p.GetLabels(), p.GetLabelsKnown())
	}
	owner("b", "Pod/bare")
	s.change(func() {
		s.pods = append(s.pods, pod("pg-1", "c", &metav1.OwnerReference{Kind: "Cluster", Name: "pg"}, nil))
	})
	owner("c", "Cluster/pg")
	s.change(func() { s.refuse = true }) // now it is not waited for
	owner("unknown", "Pod/unknown")

	s.mu.Lock()
	for _, q := range s.requests {
		if q != "/api/v1/pods spec.nodeName=node-1" {
			t.Errorf("request for %s, want the pods of the node only", q)
		}
	}
	s.mu.Unlock()
}

func TestConfig(t *testing.T) {
	if _, err := New(Options{}); !errors.Is(err, ErrNotInCluster) {
		t.Errorf("outside a cluster: %v", err)
	}
	for _, user := range []string{
		"exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/id, interactiveMode: Never}", "auth-provider: {name: gcp}",
	} {
		if _, err := New(Options{Kubeconfig: kubeconfig(t, "https://127.0.0.1:1", user)}); !errors.Is(err, ErrRunsProgram) {
			t.Errorf("a kubeconfig with %s: %v", user, err)
		}
	}
	if _, err := New(Options{Kubeconfig: "/nowhere"}); err == nil || !strings.Contains(err.Error(), "/nowhere") {
		t.Errorf("a kubeconfig that is not there: %v", err)
	}
}
