// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	"github.com/spoor/spoor/agent/workload"
	"github.com/spoor/spoor/agent/workload/cri/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// runtime is a container runtime that tests fill.
type runtime struct {
	mu         sync.Mutex
	containers []*wire.Container
	sandboxes  []*wire.PodSandbox
	lists      int // questions for everything
	questions  int // all questions
	broken     bool
	hasEvents  bool
	events     chan *wire.ContainerEventResponse
}

func (r *runtime) listContainers(_ context.Context, q *connect.Request[wire.ListContainersRequest]) (*connect.Response[wire.ListContainersResponse], error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := q.Msg.GetFilter().GetId()
	r.questions++
	if id == "" {
		r.lists++
	}
	if r.broken {
		return nil, connect.NewError(connect.CodeUnavailable, errors.New("not now"))
	}
	out := &wire.ListContainersResponse{}
	for _, c := range r.containers {
		if id == "" || c.GetId() == id {
			out.Containers = append(out.Containers, c)
		}
	}
	return connect.NewResponse(out), nil
}

func (r *runtime) listSandboxes(_ context.Context, q *connect.Request[wire.ListPodSandboxRequest]) (*connect.Response[wire.ListPodSandboxResponse], error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.questions++
	f := q.Msg.GetFilter()
	out := &wire.ListPodSandboxResponse{}
	for _, s := range r.sandboxes {
		if f.GetId() != "" && f.GetId() != s.GetId() {
			continue
		}
		if uid := f.GetLabelSelector()["io.kubernetes.pod.uid"]; uid != "" && uid != s.GetMetadata().GetUid() {
			continue
		}
		out.Items = append(out.Items, s)
	}
	return connect.NewResponse(out), nil
}

func (r *runtime) sendEvents(ctx context.Context, _ *connect.Request[wire.GetEventsRequest], s *connect.ServerStream[wire.ContainerEventResponse]) error {
	if !r.hasEvents {
		return connect.NewError(connect.CodeUnimplemented, errors.New("unknown method GetContainerEvents"))
	}
	for {
		select {
		case ev := <-r.events:
			if ev == nil {
				return errors.New("the stream ends")
			}
			if err := s.Send(ev); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// serve lets the runtime answer at a socket, until the returned function is called.
func (r *runtime) serve(t *testing.T, socket string) (stop func()) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	for path, h := range map[string]http.Handler{
		"ListContainers":     connect.NewUnaryHandler("/runtime.v1.RuntimeService/ListContainers", r.listContainers),
		"ListPodSandbox":     connect.NewUnaryHandler("/runtime.v1.RuntimeService/ListPodSandbox", r.listSandboxes),
		"GetContainerEvents": connect.NewServerStreamHandler("/runtime.v1.RuntimeService/GetContainerEvents", r.sendEvents),
	} {
		mux.Handle("/runtime.v1.RuntimeService/"+path, h)
	}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: mux, Protocols: protocols, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	return func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		<-done
	}
}

func (r *runtime) change(fn func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fn()
}

func sandbox(id, name string, labels map[string]string) *wire.PodSandbox {
	return &wire.PodSandbox{
		Id: id, Metadata: &wire.PodSandboxMetadata{Name: name, Uid: "uid-" + name, Namespace: "shop"}, CreatedAt: 5e9, Labels: labels,
	}
}

func inside(id, sandbox, name string, annotations map[string]string) *wire.Container {
	return &wire.Container{
		Id: id, PodSandboxId: sandbox, Metadata: &wire.ContainerMetadata{Name: name, Attempt: 1}, CreatedAt: 6e9, Annotations: annotations,
	}
}

var deployment = map[string]string{"pod-template-hash": "5d8", "app": "web", "io.kubernetes.pod.name": "web-5d8-bcdfg"}

// observer is a directory and a resolver that wants what it sees.
type observer struct {
	d *workload.Directory
	r *workload.Resolver
	n uint64
}

func follow(t *testing.T, o Options) *observer {
	t.Helper()
	d, err := workload.NewDirectory()
	if err != nil {
		t.Fatal(err)
	}
	r, err := workload.New(workload.Options{Node: "n", Directory: d})
	if err != nil {
		t.Fatal(err)
	}
	o.Node, o.Logger = "n", slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- New(o).Run(ctx, d) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return &observer{d: d, r: r, n: 100}
}

// sees lets a process appear in a container, and waits for its name.
func (o *observer) sees(t *testing.T, id, want string) *workload.Instance {
	t.Helper()
	o.n++
	o.r.Learn(o.n, "/x/"+id, time.Time{})
	return o.names(t, o.n, want)
}

func (o *observer) names(t *testing.T, key uint64, want string) *workload.Instance {
	t.Helper()
	got := ""
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		o.r.Settle(time.Unix(1, 0))
		in := o.r.Of(key, 0, false)
		p := in.Proto()
		got = strings.Join([]string{p.GetWorkload().GetNamespace(), p.GetWorkload().GetKind(), p.GetWorkload().GetName(), p.GetContainerName()}, "/")
		if !in.Pending() && got == want {
			return in
		}
	}
	t.Fatalf("cgroup %d belongs to %s, want %s", key, got, want)
	return nil
}

func id(c string) string { return strings.Repeat(c, 64) }

func TestContainersAreFoundWhetherListedOrWanted(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	r := &runtime{
		sandboxes:  []*wire.PodSandbox{sandbox(id("a"), "web-5d8-bcdfg", deployment)},
		containers: []*wire.Container{inside(id("b"), id("a"), "app", map[string]string{"io.kubernetes.container.restartCount": "7"})},
	}
	defer r.serve(t, socket)()
	o := follow(t, Options{Socket: socket, Expected: true})
	in := o.sees(t, id("b"), "shop/Deployment/web/app")
	if p := in.Proto(); p.GetRestartCount() != 7 || p.GetPodUid() != "uid-web-5d8-bcdfg" || p.GetStartTime().AsTime() != time.Unix(6, 0).UTC() {
		t.Errorf("the instance is %v", p)
	} else if got := p.GetLabels(); !maps.Equal(got, map[string]string{"app": "web"}) || !p.GetLabelsKnown() {
		t.Errorf("its labels are %v, known: %v", got, p.GetLabelsKnown())
	}
	o.sees(t, id("a"), "shop/Deployment/web/POD")

	r.change(func() { // a pod starts: first its processes are seen, then the runtime knows it
		r.sandboxes = append(r.sandboxes, sandbox(id("c"), "db-0", map[string]string{"statefulset.kubernetes.io/pod-name": "db-0"}))
		r.containers = append(r.containers, inside(id("d"), id("c"), "pg", nil))
	})
	in = o.sees(t, id("d"), "shop/StatefulSet/db/pg")
	if got := in.Proto().GetRestartCount(); got != 1 {
		t.Errorf("without an annotation it started %d times before, want the runtime's count", got)
	}
	o.n++
	late := o.n
	o.r.Learn(late, "/x/"+id("e"), time.Time{})
	r.change(func() { r.sandboxes = append(r.sandboxes, sandbox(id("e"), "late", nil)) })
	o.names(t, late, "shop/Pod/late/POD")

	o.n++
	o.r.Learn(o.n, "/kubepods/pod6d5f1f6e-3b8e-4f55-9d5c-0a8f0b0c0d0e", time.Time{})
	o.r.Of(o.n, 0, false)
	own := sandbox(id("f"), "own", nil)
	own.Metadata.Uid = "6d5f1f6e-3b8e-4f55-9d5c-0a8f0b0c0d0e"
	r.change(func() { r.sandboxes = append(r.sandboxes, own) })
	o.names(t, o.n, "shop/Pod/own/")
	if r.change(func() {}); r.lists != 1 {
		t.Errorf("everything was listed %d times, want once", r.lists)
	}
}

func TestEventsSpareQuestions(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	r := &runtime{hasEvents: true, events: make(chan *wire.ContainerEventResponse)}
	defer r.serve(t, socket)()
	o := follow(t, Options{Socket: socket})
	for range 2 { // it goes on after the stream broke
		r.events <- &wire.ContainerEventResponse{ContainerId: id("x")} // of a pod that is gone
		r.events <- &wire.ContainerEventResponse{
			ContainerId:        id("b"),
			PodSandboxStatus:   &wire.PodSandboxStatus{Id: id("a"), Metadata: &wire.PodSandboxMetadata{Name: "web-5d8-bcdfg", Namespace: "shop", Uid: "u"}, Labels: deployment},
			ContainersStatuses: []*wire.ContainerStatus{{Id: id("b"), Metadata: &wire.ContainerMetadata{Name: "app"}}},
		}
		r.events <- nil
	}
	var before int
	r.change(func() { before = r.questions })
	o.sees(t, id("b"), "shop/Deployment/web/app")
	o.sees(t, id("a"), "shop/Deployment/web/POD")
	if r.change(func() {}); r.questions != before {
		t.Errorf("%d questions were asked for what events told", r.questions-before)
	}
}

func TestARuntimeThatComesLaterOrAgain(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	r := &runtime{sandboxes: []*wire.PodSandbox{sandbox(id("a"), "one", nil)}, broken: true}
	o := follow(t, Options{Socket: socket, Expected: true})
	o.n++
	o.r.Learn(o.n, "/x/"+id("a"), time.Time{})
	stop := r.serve(t, socket)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		asked := 0
		if r.change(func() { asked = r.lists }); asked > 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a runtime that does not answer was not tried again")
		}
	}
	r.change(func() { r.broken = false })
	o.names(t, o.n, "shop/Pod/one/POD")
	stop()
	r.change(func() { r.sandboxes = append(r.sandboxes, sandbox(id("b"), "two", nil)) })
	defer r.serve(t, socket)()
	o.sees(t, id("b"), "shop/Pod/two/POD")
}

func TestManyUnknownContainersAreOneQuestion(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	r := &runtime{sandboxes: []*wire.PodSandbox{sandbox(id("a"), "one", nil)}}
	o := follow(t, Options{Socket: socket})
	const many = 200
	for i := range many {
		c := strings.Repeat("0", 60) + string([]byte{'a' + byte(i/100), '0' + byte(i/10%10), '0' + byte(i%10), '0'})
		r.containers = append(r.containers, inside(c, id("a"), "app", nil))
		o.n++
		o.r.Learn(o.n, "/x/"+c, time.Time{})
	}
	defer r.serve(t, socket)()
	for n := range uint64(many) {
		o.names(t, o.n-n, "shop/Pod/one/app")
	}
	if r.change(func() {}); r.questions > 10 {
		t.Errorf("%d questions for %d containers", r.questions, many)
	}
}

// An agent that has no processor hears of cgroups when their containers are gone: the runtime is asked for all while it has news.
func TestNewsOfARuntime(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	r := &runtime{sandboxes: []*wire.PodSandbox{sandbox(id("a"), "one", nil)}, containers: []*wire.Container{inside(id("b"), id("a"), "first", nil)}}
	defer r.serve(t, socket)()
	s := New(Options{Socket: socket, Node: "n", Logger: slog.New(slog.DiscardHandler)})
	s.client = newClient(socket)
	defer s.client.close()
	d, err := workload.NewDirectory()
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false, true, false} {
		if i == 2 {
			r.change(func() { r.containers = []*wire.Container{inside(id("c"), id("a"), "second", nil)} })
		}
		if news, err := s.listAll(t.Context(), d); err != nil || news != want {
			t.Errorf("question %d: news is %v, %v, want %v", i, news, err, want)
		}
	}
	for _, c := range []string{"b", "c"} {
		if _, known := d.Container(id(c)); !known {
			t.Errorf("container %s is not known, now that it is gone", c)
		}
	}
}

func TestSockets(t *testing.T) {
	if got := Sockets("/proc/1/root", "unix:///run/x.sock"); !slices.Equal(got, []string{"/run/x.sock"}) {
		t.Errorf("given a URL: %v", got)
	}
	if got := Sockets("/proc/1/root", "/run/x.sock"); !slices.Equal(got, []string{"/run/x.sock"}) {
		t.Errorf("given a path: %v", got)
	}
	for _, s := range Sockets("/proc/1/root", "") {
		if !strings.HasPrefix(s, "/proc/1/root/") || len(s) > 107 { // sun_path, unix(7)
			t.Errorf("socket %q", s)
		}
	}
}
