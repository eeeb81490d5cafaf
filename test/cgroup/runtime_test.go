// SPDX-License-Identifier: Apache-2.0

package cgroup_test

import (
	"context"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// answers is a CRI socket that tells of pods which somebody else runs, as CRI-O does of pods without a sandbox's container: it has no
// events, and forgets a pod when it is removed.
type answers struct {
	cri.UnimplementedRuntimeServiceServer
	mu         sync.Mutex
	sandboxes  map[string]*cri.PodSandbox
	containers map[string]*cri.Container
	asked      int
}

// serve answers at a socket until the test ends.
func serve(t *testing.T, socket string) *answers {
	t.Helper()
	a := &answers{sandboxes: map[string]*cri.PodSandbox{}, containers: map[string]*cri.Container{}}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	cri.RegisterRuntimeServiceServer(s, a)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return a
}

func (a *answers) add(p *cri.PodSandbox, c *cri.Container) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sandboxes[p.GetId()], a.containers[c.GetId()] = p, c
}

func (a *answers) remove(p *cri.PodSandbox, c *cri.Container) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.sandboxes, p.GetId())
	delete(a.containers, c.GetId())
}

func (a *answers) ListPodSandbox(_ context.Context, r *cri.ListPodSandboxRequest) (*cri.ListPodSandboxResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	out := &cri.ListPodSandboxResponse{}
	for id, p := range a.sandboxes {
		f := r.GetFilter()
		matches := f.GetId() == "" || f.GetId() == id
		for name, value := range f.GetLabelSelector() {
			matches = matches && p.GetLabels()[name] == value
		}
		if matches {
			out.Items = append(out.Items, p)
		}
	}
	return out, nil
}

func (a *answers) ListContainers(_ context.Context, r *cri.ListContainersRequest) (*cri.ListContainersResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	out := &cri.ListContainersResponse{}
	for id, c := range a.containers {
		if f := r.GetFilter(); f.GetId() == "" || f.GetId() == id {
			out.Containers = append(out.Containers, c)
		}
	}
	return out, nil
}
