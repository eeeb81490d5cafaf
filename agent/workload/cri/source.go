// SPDX-License-Identifier: Apache-2.0

// Package cri tells a workload.Directory of the containers and pods of a Kubernetes container runtime (containerd, CRI-O),
// over its CRI socket. It only asks: nothing that it calls changes anything.
//
// It lists everything once, then follows the runtime's events where it sends any (containerd since 1.7, CRI-O when
// told to), and asks for single containers when somebody saw one that nobody has told of.
package cri

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	"github.com/spoor/spoor/agent/workload"
	"github.com/spoor/spoor/agent/workload/cri/wire"
)

const (
	// How often a runtime that is not there, or does not answer, is tried again: sooner when somebody waits for a name.
	minPause = 100 * time.Millisecond
	maxPause = 5 * time.Second
	// How long one that has no CRI is left alone.
	deafPause = 5 * time.Minute
	// The pauses between two questions for the same container.
	minAgain = 10 * time.Millisecond
	maxAgain = 500 * time.Millisecond
	// With more than this many unknown containers, all are asked for at once.
	fewWanted = 8
	// While containers come, all are asked for so often, until none came for a while, neither a cgroup nor news of the runtime: on a busy machine one may be
	// noticed when its runtime has forgotten it already.
	sweepEvery, sweepFor = 500 * time.Millisecond, 5 * time.Second
)

// usual are the places where runtimes have their sockets: containerd, CRI-O, K3s, MicroK8s, k0s, cri-dockerd.
var usual = []string{
	"/run/containerd/containerd.sock",
	"/run/crio/crio.sock",
	"/run/k3s/containerd/containerd.sock",
	"/var/snap/microk8s/common/run/containerd.sock",
	"/run/k0s/containerd.sock",
	"/run/cri-dockerd.sock",
}

// Sockets returns where to look for runtimes: the socket that was given, as a path or a unix:// URL, or the usual places.
// root is the host's root directory as the agent can reach it.
func Sockets(root, given string) []string {
	if given != "" {
		return []string{strings.TrimPrefix(given, "unix://")}
	}
	var all []string
	for _, s := range usual {
		all = append(all, filepath.Join(root, s))
	}
	return all
}

// Options of a Source.
type Options struct {
	Socket string
	// Somebody said that there is a runtime: then its absence is worth a warning.
	Expected bool
	// Name of the node in Kubernetes.
	Node   string
	Logger *slog.Logger
}

// Source is one runtime.
type Source struct {
	o      Options
	client *client
	said   string // what was logged last of how it is
}

// New returns a Source that does nothing before Run.
func New(o Options) *Source { return &Source{o: o} }

// Run implements workload.Source.
func (s *Source) Run(ctx context.Context, d *workload.Directory) error {
	s.client = newClient(s.o.Socket)
	defer s.client.close()
	pause := minPause
	for {
		err := s.follow(ctx, d)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // ended because it was told to
		}
		if s.said == works {
			pause = minPause
		}
		_, more := d.Wanted()
		switch {
		case errors.Is(err, os.ErrNotExist):
			if s.o.Expected {
				s.say(slog.LevelWarn, "no container runtime at this socket: containers have no names", err)
			}
		case connect.CodeOf(err) == connect.CodeUnimplemented:
			s.say(slog.LevelInfo, "this container runtime has no CRI", err)
			pause, more = deafPause, nil
		default:
			s.say(slog.LevelWarn, "the container runtime does not answer: new containers have no names", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-more:
			pause = minPause
		case <-time.After(pause):
			pause = min(2*pause, maxPause)
		}
	}
}

const works = "names containers"

// say logs how the runtime is when that changes.
func (s *Source) say(level slog.Level, what string, err error) {
	if s.said == what {
		return
	}
	s.said = what
	s.o.Logger.Log(context.Background(), level, "container runtime", "state", what, "socket", s.o.Socket, "error", err)
}

// follow tells of everything, and of what comes, until something breaks.
func (s *Source) follow(ctx context.Context, d *workload.Directory) error {
	if _, err := os.Stat(s.o.Socket); err != nil {
		return err
	}
	if _, err := s.listAll(ctx, d); err != nil {
		return err
	}
	s.say(slog.LevelInfo, works, nil)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.answer(ctx, d) })
	g.Go(func() error { s.events(ctx, d); return nil })
	return g.Wait()
}

// listAll tells of everything, and whether some of it was news.
func (s *Source) listAll(ctx context.Context, d *workload.Directory) (news bool, err error) {
	sandboxes, err := s.client.listSandboxes(ctx, nil)
	if err != nil {
		return false, err
	}
	for _, p := range sandboxes {
		s.tellSandbox(d, p)
	}
	containers, err := s.client.listContainers(ctx, "")
	if err != nil {
		return false, err
	}
	for _, c := range containers {
		_, known := d.Container(c.GetId())
		news = news || !known
		if err := s.tellContainer(ctx, d, c); err != nil {
			return news, err
		}
	}
	return news, nil
}

// answer asks for what is wanted until something breaks.
func (s *Source) answer(ctx context.Context, d *workload.Directory) error {
	again := minAgain
	var came, swept time.Time
	for {
		wanted, more := d.Wanted()
		var timer, sweep <-chan time.Time
		if len(wanted) > 0 {
			if err := s.ask(ctx, d, wanted); err != nil {
				return err
			}
			timer = time.After(again)
		}
		if now := time.Now(); now.Sub(came) < sweepFor {
			sweep = time.After(sweepEvery - min(now.Sub(swept), sweepEvery))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-more:
			now := time.Now()
			if now.Sub(came) >= sweepFor {
				swept = now
			}
			again, came = minAgain, now
		case <-timer:
			again = min(2*again, maxAgain)
		case <-sweep:
			news, err := s.listAll(ctx, d)
			if err != nil {
				return err
			}
			if swept = time.Now(); news { // who tells of new cgroups is behind
				came = swept
			}
		}
	}
}

func (s *Source) ask(ctx context.Context, d *workload.Directory, wanted []workload.Want) error {
	if len(wanted) > fewWanted {
		_, err := s.listAll(ctx, d)
		return err
	}
	for _, w := range wanted {
		if w.User != "" { // a user's own runtime has no CRI
			continue
		}
		if err := s.askFor(ctx, d, w); err != nil {
			return err
		}
	}
	return nil
}

func (s *Source) askFor(ctx context.Context, d *workload.Directory, w workload.Want) error {
	filter := &wire.PodSandboxFilter{Id: w.ContainerID}
	if w.ContainerID != "" {
		containers, err := s.client.listContainers(ctx, w.ContainerID)
		if err != nil {
			return err
		}
		for _, c := range containers {
			if err := s.tellContainer(ctx, d, c); err != nil {
				return err
			}
		}
		if len(containers) > 0 {
			return nil
		}
	} else {
		filter.LabelSelector = map[string]string{labelPodUID: w.PodUID}
	}
	sandboxes, err := s.client.listSandboxes(ctx, filter)
	if err != nil {
		return err
	}
	for _, p := range sandboxes {
		s.tellSandbox(d, p)
	}
	return nil
}

// events follows the runtime's events until ctx ends. A runtime without any is asked for each container instead.
func (s *Source) events(ctx context.Context, d *workload.Directory) {
	pause := minPause
	for {
		err := s.client.follow(ctx, func(ev *wire.ContainerEventResponse) {
			pause = minPause
			s.tellEvent(d, ev)
		})
		if connect.CodeOf(err) == connect.CodeUnimplemented {
			s.o.Logger.Debug("the container runtime sends no events", "socket", s.o.Socket)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
			pause = min(2*pause, time.Minute)
		}
	}
}

// Labels and annotations that kubelet gives to containers (pkg/kubelet/kuberuntime, labels.go).
const (
	labelPodUID       = "io.kubernetes.pod.uid"
	annotationRestart = "io.kubernetes.container.restartCount"
)

func (s *Source) tellEvent(d *workload.Directory, ev *wire.ContainerEventResponse) {
	p := ev.GetPodSandboxStatus()
	if p == nil {
		return
	}
	s.tellSandbox(d, &wire.PodSandbox{
		Id: p.GetId(), Metadata: p.GetMetadata(), CreatedAt: p.GetCreatedAt(), Labels: p.GetLabels(), Annotations: p.GetAnnotations(),
	})
	pod := s.pod(p.GetMetadata(), p.GetLabels(), p.GetAnnotations(), p.GetCreatedAt())
	for _, c := range ev.GetContainersStatuses() {
		d.AddContainer(container(c.GetId(), c.GetMetadata(), c.GetAnnotations(), c.GetCreatedAt(), pod))
	}
}

func (s *Source) tellSandbox(d *workload.Directory, p *wire.PodSandbox) {
	d.AddContainer(workload.Container{
		ID: p.GetId(), Name: workload.Sandbox, Created: at(p.GetCreatedAt()), Restarts: p.GetMetadata().GetAttempt(),
		Pod: s.pod(p.GetMetadata(), p.GetLabels(), p.GetAnnotations(), p.GetCreatedAt()),
	})
}

func (s *Source) tellContainer(ctx context.Context, d *workload.Directory, c *wire.Container) error {
	sandbox, ok := d.Container(c.GetPodSandboxId())
	if !ok { // its labels tell who made the pod; the container's do not
		found, err := s.client.listSandboxes(ctx, &wire.PodSandboxFilter{Id: c.GetPodSandboxId()})
		if err != nil {
			return err
		}
		for _, p := range found {
			s.tellSandbox(d, p)
		}
		if sandbox, ok = d.Container(c.GetPodSandboxId()); !ok {
			return nil // removed in this moment, and its containers with it
		}
	}
	d.AddContainer(container(c.GetId(), c.GetMetadata(), c.GetAnnotations(), c.GetCreatedAt(), sandbox.Pod))
	return nil
}

func (s *Source) pod(m *wire.PodSandboxMetadata, labels, annotations map[string]string, created int64) *workload.Pod {
	meta := workload.PodMeta{Name: m.GetName(), Labels: labels, Annotations: annotations, Created: at(created)}
	return &workload.Pod{
		UID: m.GetUid(), Namespace: m.GetNamespace(), Name: m.GetName(),
		Controller: meta.Controller(s.o.Node), Labels: workload.LabelsOf(labels), Static: meta.Static(),
	}
}

func container(id string, m *wire.ContainerMetadata, annotations map[string]string, created int64, pod *workload.Pod) workload.Container {
	c := workload.Container{ID: id, Name: m.GetName(), Created: at(created), Restarts: m.GetAttempt(), Pod: pod}
	if n, err := strconv.ParseUint(annotations[annotationRestart], 10, 32); err == nil {
		c.Restarts = uint32(n)
	}
	return c
}

func at(ns int64) time.Time {
	if ns <= 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}
