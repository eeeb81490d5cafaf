// SPDX-License-Identifier: Apache-2.0

package formats_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"sigs.k8s.io/yaml"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	recordings "github.com/spoor/spoor/test/recording"
)

// `make test-cluster` leaves a recording in build/shop. The one in testdata is such a one, without what belongs to the nodes, and
// without what nobody here asks about its objects.
var shopDir = flag.String("shop", "testdata/shop", "folder with a recording of the shop in a cluster, and what that was made of")

// shop is a recording of test/shop in a cluster, and what the cluster was made of.
type shop struct {
	recording, cluster string
	events             []*spoorv1.Event
	pods               []*pod
	services           []*service
	owners             []*object
	nodes              map[string]bool // by address
	// Flows of kubelets, about which no policy is asked.
	kubelets int
}

type object struct {
	Kind     string
	Metadata struct {
		Name, Namespace, UID string
		Labels, Annotations  map[string]string
	}
	Spec struct {
		Selector map[string]any
	}
}

type pod struct {
	object
	Spec   struct{ HostNetwork bool }
	Status struct{ PodIP, HostIP string }
}

type service struct {
	object
	Spec struct {
		ClusterIP string
		Selector  map[string]string
		Ports     []struct {
			Port       int32
			NodePort   int32
			TargetPort int
			Protocol   string
		}
	}
}

func openShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{recording: filepath.Join(*shopDir, "events.jsonl.gz"), cluster: filepath.Join(*shopDir, "cluster.yaml"), nodes: map[string]bool{}}
	s.events = recordings.Read(t, s.recording)
	data, err := os.ReadFile(s.cluster)
	if err != nil {
		t.Fatal(err)
	}
	var list struct{ Items []any }
	if err := yaml.Unmarshal(data, &list); err != nil {
		t.Fatal(err)
	}
	for _, item := range list.Items {
		s.add(t, item)
	}
	return s
}

func (s *shop) add(t *testing.T, item any) {
	t.Helper()
	text, err := yaml.Marshal(item)
	if err != nil {
		t.Fatal(err)
	}
	decode := func(into any) {
		if err := yaml.Unmarshal(text, into); err != nil {
			t.Fatalf("%v:\n%s", err, text)
		}
	}
	var o object
	decode(&struct{ Kind *string }{&o.Kind})
	switch o.Kind {
	case "Pod":
		p := &pod{}
		decode(p)
		s.pods = append(s.pods, p)
		s.nodes[p.Status.HostIP] = true
	case "Service":
		v := &service{}
		decode(v)
		s.services = append(s.services, v)
	default:
		decode(&o)
		if o.Spec.Selector["matchLabels"] != nil {
			s.owners = append(s.owners, &o)
		}
	}
}
