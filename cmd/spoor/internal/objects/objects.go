// SPDX-License-Identifier: Apache-2.0

// Package objects reads contracts that are objects of a Kubernetes cluster. It asks the API server for those alone, and for what
// changes of them.
//
// Whoever may write such an object in a namespace speaks for the workloads of that namespace, in that cluster, and for nobody else: an object that selects
// others is refused, and so is one that is wrong. A refused object leaves the rest as they are, and its own last good version in force.
package objects

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/contract"
)

// Options of a Source.
type Options struct {
	// How to reach the API server.
	Config *rest.Config
	// What agents call the cluster.
	Cluster    string
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Source is the contracts of one cluster.
type Source struct {
	o         Options
	contracts dynamic.ResourceInterface
	refused   prometheus.Gauge

	mu sync.Mutex
	// The objects as they are now, by namespace/name, and whether that is more than was asked for last.
	found map[string]*unstructured.Unstructured
	news  bool
	// The last good version of each, and what was last said to be wrong with one.
	good map[string]*contract.Contract
	said map[string]string
}

// New returns a Source that does nothing before Run.
func New(o Options) (*Source, error) {
	client, err := dynamic.NewForConfig(o.Config)
	if err != nil {
		return nil, fmt.Errorf("client of the API server: %w", err)
	}
	s := &Source{
		o: o, found: map[string]*unstructured.Unstructured{}, good: map[string]*contract.Contract{}, said: map[string]string{},
		contracts: client.Resource(schema.GroupVersionResource{Group: "spoor.dev", Version: "v1", Resource: "contracts"}),
		refused: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "spoor_cluster_contracts_refused", Help: "Contracts among the objects of the cluster that are wrong, or select what is not theirs.",
		}),
	}
	return s, o.Registerer.Register(s.refused)
}

// Run follows the objects until ctx is done.
func (s *Source) Run(ctx context.Context) {
	ctx = klog.NewContext(ctx, logr.FromSlogHandler(s.o.Logger.Handler()))
	expected := &unstructured.Unstructured{}
	expected.SetAPIVersion(contract.APIVersion)
	expected.SetKind(contract.Kind)
	cache.NewReflectorWithOptions(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			list, err := s.contracts.List(ctx, o)
			if err != nil && ctx.Err() == nil {
				s.o.Logger.Warn("the API server does not tell of contracts", "error", err)
			}
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return s.contracts.Watch(ctx, o)
		},
	}, expected, s, cache.ReflectorOptions{Name: "contracts"}).RunWithContext(ctx)
}

func (s *Source) change(do func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
	s.news = true
	return nil
}

func key(o *unstructured.Unstructured) string { return o.GetNamespace() + "/" + o.GetName() }

// Add implements cache.ReflectorStore, as the next four do.
func (s *Source) Add(obj any) error {
	o, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return nil
	}
	return s.change(func() { s.found[key(o)] = o })
}

// Update is Add.
func (s *Source) Update(obj any) error { return s.Add(obj) }

// Delete forgets one.
func (s *Source) Delete(obj any) error {
	o, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return nil
	}
	return s.change(func() { delete(s.found, key(o)) })
}

// Replace begins with all that there are.
func (s *Source) Replace(all []any, _ string) error {
	return s.change(func() {
		clear(s.found)
		for _, obj := range all {
			if o, ok := obj.(*unstructured.Unstructured); ok {
				s.found[key(o)] = o
			}
		}
		s.o.Logger.Info("the API server tells of contracts", "cluster", s.o.Cluster, "contracts", len(all))
	})
}

// Resync has nothing to do.
func (s *Source) Resync() error { return nil }

// Changed says whether anything is new since Join was called last.
func (s *Source) Changed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.news
}

// Join returns the contracts of files and of objects together. Where two are about the same workloads, or have one name, that of a file counts, and of objects the
// first by namespace and name.
func (s *Source) Join(files []*contract.Contract) (*contract.Set, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.news = false
	wrong := map[string]string{}
	maps.DeleteFunc(s.good, func(key string, _ *contract.Contract) bool { return s.found[key] == nil })
	keys := slices.Sorted(maps.Keys(s.found))
	for _, key := range keys {
		c, err := s.read(s.found[key])
		if err != nil {
			wrong[key] = err.Error()
			continue
		}
		s.good[key] = c
	}
	all := slices.Clone(files)
	for _, key := range keys {
		if c := s.good[key]; c != nil {
			all = append(all, c)
		}
	}
	set, err := contract.NewSet(all...)
	if err != nil {
		set, err = s.oneByOne(files, keys, wrong)
	}
	s.complain(wrong)
	return set, err
}

// oneByOne leaves out what does not go together with what was taken before it.
func (s *Source) oneByOne(files []*contract.Contract, keys []string, wrong map[string]string) (*contract.Set, error) {
	all := slices.Clone(files)
	set, err := contract.NewSet(all...)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		c := s.good[key]
		if c == nil {
			continue
		}
		next, err := contract.NewSet(append(slices.Clip(all), c)...)
		if err != nil {
			wrong[key] = err.Error()
			continue
		}
		set, all = next, append(all, c)
	}
	return set, nil
}

// complain says once what is wrong with an object.
func (s *Source) complain(wrong map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(wrong)) {
		if s.said[key] != wrong[key] {
			s.o.Logger.Error("a contract of the cluster is refused", "object", key, "error", wrong[key])
		}
	}
	s.said = wrong
	s.refused.Set(float64(len(wrong)))
}

// read makes a contract of an object, for workloads of its own namespace alone. No namespace speaks for what runs on a node beside its pods.
func (s *Source) read(o *unstructured.Unstructured) (*contract.Contract, error) {
	plain := &unstructured.Unstructured{Object: map[string]any{"apiVersion": o.GetAPIVersion(), "kind": o.GetKind(), "spec": o.Object["spec"]}}
	plain.SetName(o.GetName())
	plain.SetNamespace(o.GetNamespace())
	text, err := plain.MarshalJSON()
	if err != nil {
		return nil, err
	}
	found, err := contract.Parse("contracts.spoor.dev "+key(o), text)
	if err != nil {
		return nil, err
	}
	w := &found[0].Spec.Workload
	switch {
	case w.Namespace != "" && string(w.Namespace) != o.GetNamespace():
		return nil, fmt.Errorf("spec.workload.namespace is %s, and an object speaks for its own namespace alone: leave it out", w.Namespace)
	case w.Cluster != "" && string(w.Cluster) != s.o.Cluster:
		return nil, fmt.Errorf("spec.workload.cluster is %s, and an object speaks for its own cluster, %s, alone: leave it out", w.Cluster, s.o.Cluster)
	case spoorv1.IsNodeKind(string(w.Kind)):
		return nil, fmt.Errorf("spec.workload.kind is %s, and an object speaks for pods alone: write it into a file", w.Kind)
	}
	found[0].Within(s.o.Cluster, o.GetNamespace())
	return found[0], nil
}
