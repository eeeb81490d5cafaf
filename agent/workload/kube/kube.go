// SPDX-License-Identifier: Apache-2.0

// Package kube tells a workload.Directory who made the pods of one node, what labels and what volumes they have, as the API server has it.
//
// It asks for nothing but the pods that are bound to its node, once, and then for what changes: what it costs the API server
// does not depend on the size of the cluster. It keeps no pods: of each it takes its owner, its labels and where its volumes are mounted.
package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/spoor/spoor/agent/workload"
)

const (
	minPause = time.Second
	maxPause = time.Minute
)

// ErrNotInCluster says that the agent does not run in a cluster.
var ErrNotInCluster = rest.ErrNotInCluster

// ErrRunsProgram says that a kubeconfig file names a program to run for its credentials.
var ErrRunsProgram = errors.New("no program is run for credentials, and this kubeconfig asks for one (exec, auth-provider)")

// Options of a Source.
type Options struct {
	// A kubeconfig file; "" is the service account of the pod that the agent runs in.
	Kubeconfig string
	// Name of the node in Kubernetes.
	Node    string
	Version string
	Logger  *slog.Logger
}

// Source is one API server.
type Source struct {
	o    Options
	pods dynamic.ResourceInterface
	down bool // was logged last
}

// New returns a Source that does nothing before Run. Outside a cluster and without a kubeconfig file it returns
// ErrNotInCluster.
func New(o Options) (*Source, error) {
	config, err := Config(o.Kubeconfig)
	if err != nil {
		return nil, err
	}
	config.UserAgent = "spoor-agent/" + o.Version
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client of the API server: %w", err)
	}
	pods := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "pods"})
	return &Source{o: o, pods: pods}, nil
}

// Config says how to reach the API server: by a kubeconfig file, or by the service account of the pod for "".
func Config(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		config, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("find the API server: %w", err)
		}
		return config, nil
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", kubeconfig, err)
	}
	if config.ExecProvider != nil || config.AuthProvider != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w; use one with a client certificate or token", kubeconfig, ErrRunsProgram)
	}
	return config, nil
}

// Run implements workload.Source.
func (s *Source) Run(ctx context.Context, d *workload.Directory) error {
	defer d.Follow(false)
	ctx = klog.NewContext(ctx, logr.FromSlogHandler(s.o.Logger.Handler()))
	reflector := cache.NewReflectorWithOptions(s.listerWatcher(d), expected(), &store{s, d}, cache.ReflectorOptions{
		Name: "pods of this node",
	})
	pause := minPause
	for {
		began := time.Now()
		err := reflector.ListAndWatchWithContext(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // ended because it was told to
		}
		s.state(ctx, d, err)
		if time.Since(began) > maxPause {
			pause = minPause
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
			pause = min(2*pause, maxPause)
		}
	}
}

// listerWatcher asks for the pods of the node, and notices whether anybody answers.
func (s *Source) listerWatcher(d *workload.Directory) cache.ListerWatcher {
	mine := fields.OneTermEqualSelector("spec.nodeName", s.o.Node).String()
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = mine
			list, err := s.pods.List(ctx, o)
			s.state(ctx, d, err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = mine
			w, err := s.pods.Watch(ctx, o)
			s.state(ctx, d, err)
			return w, err
		},
	}
}

// state says whether the API server answers, and logs when that changes.
func (s *Source) state(ctx context.Context, d *workload.Directory, err error) {
	if ctx.Err() != nil {
		return
	}
	d.Follow(err == nil)
	if down := err != nil; down != s.down {
		s.down = down
		if down {
			s.o.Logger.Warn("the API server does not tell of this node's pods; their owners are told from labels", "node", s.o.Node, "error", err)
		} else {
			s.o.Logger.Info("the API server tells of this node's pods again", "node", s.o.Node)
		}
	}
}

// store takes what the reflector brings. It keeps nothing: a pod that was deleted keeps its owner in the directory, for as long
// as there is room.
type store struct {
	s *Source
	d *workload.Directory
}

var _ cache.ReflectorStore = (*store)(nil)

func (t *store) Add(obj any) error {
	pod, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return nil
	}
	uid := string(pod.GetUID())
	if hash := pod.GetAnnotations()[annotationHash]; hash != "" { // of a static pod this is but an image, with a uid of its own
		uid = hash
	}
	t.d.AddVolumes(uid, volumesOf(pod.Object))
	t.d.AddLabels(uid, workload.LabelsOf(pod.GetLabels()))
	t.d.AddOwner(string(pod.GetUID()), controllerOf(pod)) // last: a pod waits for it
	return nil
}

func (t *store) Update(obj any) error { return t.Add(obj) }

func (t *store) Delete(any) error { return nil }

func (t *store) Replace(all []any, _ string) error {
	for _, obj := range all {
		if err := t.Add(obj); err != nil {
			return err
		}
	}
	t.s.o.Logger.Info("the API server tells of this node's pods", "node", t.s.o.Node, "pods", len(all))
	return nil
}

func (t *store) Resync() error { return nil }

// By this kubelet knows a static pod.
const annotationHash = "kubernetes.io/config.hash"

// expected is what the reflector takes; it tells untyped objects by their kind.
func expected() *unstructured.Unstructured {
	pod := &unstructured.Unstructured{}
	pod.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "Pod"})
	return pod
}

func controllerOf(pod metav1.Object) workload.Controller {
	meta := workload.PodMeta{
		Name: pod.GetName(), Labels: pod.GetLabels(), Annotations: pod.GetAnnotations(), Created: pod.GetCreationTimestamp().Time,
	}
	if owner := metav1.GetControllerOf(pod); owner != nil {
		return meta.ControllerOf(workload.Controller{Kind: owner.Kind, Name: owner.Name})
	}
	return workload.Controller{Kind: workload.KindPod, Name: pod.GetName()}
}
