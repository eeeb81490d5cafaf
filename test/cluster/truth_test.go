// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// pod is what the API server knows of one.
type pod struct {
	Metadata struct {
		Name, Namespace, UID string
		CreationTimestamp    time.Time
		Labels, Annotations  map[string]string
		OwnerReferences      []struct {
			Kind, Name string
			Controller bool
		}
	}
	Spec struct {
		NodeName    string
		HostNetwork bool
	}
	Status struct {
		PodIP             string
		ContainerStatuses []struct {
			Name, ContainerID string
			RestartCount      uint32
		}
	}
}

// act is a line of the shop's journal (test/shop, Act).
type act struct {
	Time                             time.Time
	Act, Path, Service, Peer, Client string
}

// nodeAddress is that of node1, and the other one of node2.
const nodeAddress, otherNodeAddress = "10.99.0.11", "10.99.0.12"

// member is a pod with what is known of it.
type member struct {
	pod
	// Kind and name of who made it.
	kind, name string
	// As the node calls it: that of a static pod is another than the API server's.
	uid string
	// Container ids, with the restart count of each.
	containers map[string]uint32
	acts       []act
}

func (m *member) workload() string { return m.kind + "/" + m.name }

// labels are those that say something of the workload: Kubernetes' own are of one pod or revision.
func (m *member) labels() map[string]string {
	own := map[string]string{}
	for key, value := range m.Metadata.Labels {
		if !strings.HasSuffix(key, "-hash") && !strings.HasSuffix(key, "-generation") && !strings.HasSuffix(key, "-uid") && !strings.Contains(key, "kubernetes.io/") && key != "job-name" {
			own[key] = value
		}
	}
	return own
}

// truth is what the scripts did.
type truth struct {
	byUID map[string]*member
	// Who holds an address, but for those of nodes.
	byAddress map[netip.Addr]*member
	// Who called from an address and port, by what the callers wrote down.
	callers map[netip.AddrPort]*member
	// Of services, by name: the workload behind.
	services map[string]string
	byIP     map[netip.Addr]string // service by its address
}

var (
	cronJob    = regexp.MustCompile(`^(.*)-[0-9]{8}$`)
	replicaSet = regexp.MustCompile(`^(.*)-[0-9a-f]+$`)
)

// truth reads what there is, while the pods are there still.
func (l *lab) truth() *truth {
	l.Helper()
	w := &truth{
		byUID: map[string]*member{}, byAddress: map[netip.Addr]*member{}, callers: map[netip.AddrPort]*member{},
		services: map[string]string{
			"storefront": "Deployment/storefront", "catalogue": "Deployment/catalogue", "orders": "StatefulSet/orders",
			"payments": "Deployment/payments", "meter": "DaemonSet/meter",
		},
		byIP: map[netip.Addr]string{netip.MustParseAddr(nodeAddress): "storefront"}, // by its port there
	}
	var pods struct{ Items []pod }
	l.get("pods", &pods)
	for _, p := range pods.Items {
		m := &member{pod: p, kind: "Pod", name: p.Metadata.Name, uid: p.Metadata.UID, containers: map[string]uint32{}}
		for _, o := range p.Metadata.OwnerReferences {
			if !o.Controller {
				continue
			}
			m.kind, m.name = o.Kind, o.Name
			switch {
			case o.Kind == "ReplicaSet":
				m.kind, m.name = "Deployment", replicaSet.ReplaceAllString(o.Name, "$1")
			case o.Kind == "Job" && cronJob.MatchString(o.Name):
				m.kind, m.name = "CronJob", cronJob.ReplaceAllString(o.Name, "$1")
			case o.Kind == "Node":
				m.kind, m.name = "Pod", strings.TrimSuffix(p.Metadata.Name, "-"+p.Spec.NodeName)
				m.uid = p.Metadata.Annotations["kubernetes.io/config.hash"]
			}
		}
		for _, c := range p.Status.ContainerStatuses {
			m.containers[strings.TrimPrefix(c.ContainerID, "containerd://")] = c.RestartCount
		}
		w.byUID[m.uid] = m
		if ip, err := netip.ParseAddr(p.Status.PodIP); err == nil && !p.Spec.HostNetwork {
			w.byAddress[ip] = m
		}
		m.acts = l.journal(m)
		for _, a := range m.acts {
			if from, err := netip.ParseAddrPort(a.Client); err == nil && (a.Act == "call" || a.Act == "send") {
				w.callers[from] = m
			}
		}
	}
	var services struct {
		Items []struct {
			Metadata struct{ Name string }
			Spec     struct{ ClusterIP string }
		}
	}
	l.get("services", &services)
	for _, s := range services.Items {
		w.byIP[netip.MustParseAddr(s.Spec.ClusterIP)] = s.Metadata.Name
	}
	return w
}

// journal reads what the containers of a pod wrote to their standard output, as kubelet has it (CRI logging: time, stream,
// tag and line).
func (l *lab) journal(m *member) []act {
	l.Helper()
	files, err := filepath.Glob(filepath.Join(l.run, m.Spec.NodeName, "logs", fmt.Sprintf("%s_%s_%s", m.Metadata.Namespace, m.Metadata.Name, m.uid), "*", "*.log"))
	if err != nil || len(files) == 0 {
		l.Errorf("no log of pod %s: %v", m.Metadata.Name, err)
	}
	var acts []act
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			l.Fatal(err)
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			parts := strings.SplitN(lines.Text(), " ", 4)
			if len(parts) < 4 || parts[1] != "stdout" {
				l.Logf("%s says: %s", m.Metadata.Name, lines.Text())
				continue
			}
			var a act
			if err := json.Unmarshal([]byte(parts[3]), &a); err != nil {
				l.Errorf("%s: %v", file, err)
				continue
			}
			acts = append(acts, a)
		}
		_ = f.Close()
	}
	return acts
}
