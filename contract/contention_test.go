// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// parts counts the components of a graph, directions ignored, as if a vertex were not there.
func parts(g *graph, without int) int {
	both := make([][]int, len(g.out))
	for v := range g.out {
		both[v] = slices.Concat(g.out[v], g.in[v])
	}
	seen, n := make([]bool, len(both)), 0
	for v := range both {
		if v == without || seen[v] {
			continue
		}
		n++
		for w, reached := range reach(both, v, without) {
			seen[w] = seen[w] || reached
		}
		seen[v] = true
	}
	return n
}

// A vertex is an articulation exactly when there are more parts without it.
func TestArticulations(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		n := 1 + r.IntN(12)
		g := newGraph(n)
		seen := map[[2]int]bool{}
		for range r.IntN(2 * n) {
			a, b := r.IntN(n), r.IntN(n)
			if a != b && !seen[[2]int{a, b}] {
				seen[[2]int{a, b}] = true
				g.add(a, b)
			}
		}
		whole := parts(g, -1)
		for v, cut := range g.articulations() {
			alone := len(g.out[v])+len(g.in[v]) == 0
			if want := !alone && parts(g, v) > whole; cut != want {
				t.Fatalf("vertex %d of %v: articulation %v, want %v", v, g.out, cut, want)
			}
		}
	}
}

func service(name string) *spoorv1.Workload {
	return &spoorv1.Workload{Cluster: "east", Namespace: "shop", Kind: "Deployment", Name: name}
}

func TestContention(t *testing.T) {
	for _, tc := range []struct {
		name  string
		calls string // caller>called
		port  uint32
		want  []string
	}{
		{"all ways lead through one", "a>checkout b>checkout c>checkout checkout>x checkout>y", 8080, []string{
			"Deployment shop/checkout is the only way by which 3 workloads reach 2 others",
		}},
		{"there is another way", "a>checkout b>checkout c>checkout checkout>x checkout>y a>m b>m c>m m>x m>y", 8080, nil},
		{"few depend on it", "a>checkout b>checkout checkout>x checkout>y x>z", 8080, nil},
		{"most depend on one", "a>b b>checkout c>checkout d>checkout e>d f>a", 8080, []string{
			"Deployment shop/checkout is what 6 of 6 other workloads depend on, directly or through others",
		}},
		{"some depend on one", "a>checkout b>checkout c>checkout c>x d>x e>x f>x g>x h>x", 8080, nil},
		{"most of its system, not of another", "a>checkout b>checkout c>checkout d>checkout e>checkout m>x n>x o>x p>y q>z r>s t>u v>w", 8080, []string{
			"Deployment shop/checkout is what 5 of 5 other workloads depend on, directly or through others",
		}},
		{"it calls many and nobody calls it", "checkout>a checkout>b checkout>c checkout>d checkout>e checkout>f", 8080, nil},
		{"a small system", "a>checkout b>checkout c>checkout checkout>x", 8080, nil},
		{"everybody asks for names", "a>checkout b>checkout c>checkout d>checkout e>checkout f>checkout", 53, nil},
		{"another one is in the middle", "a>hub b>hub c>hub hub>checkout hub>x", 8080, []string{
			"Deployment shop/checkout is what 4 of 5 other workloads depend on, directly or through others",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newScene(t, strings.Replace(seller, "  calls: [{cidr: 0.0.0.0/0}]\n", "", 1))
			for i, pair := range strings.Fields(tc.calls) {
				from, to, _ := strings.Cut(pair, ">")
				s.instance = "i-" + from
				s.workload = service(from)
				s.sees(callOf(service(to), fmt.Sprintf("10.1.0.%d", i+1), tc.port))
				// The other end tells the same, and that changes nothing.
				s.workload, s.instance = service(to), "i-"+to
				s.sees(calledBy(service(from), "10.1.0.99", tc.port))
			}
			s.now = s.now.Add(time.Hour)
			var got []string
			for _, v := range s.judge.Tick(s.now) {
				got = append(got, v.Title)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if again := s.judge.Tick(s.now.Add(2 * time.Hour)); again != nil {
				t.Errorf("told again: %v", again)
			}
		})
	}
}

func TestContentionEnds(t *testing.T) {
	s := newScene(t, strings.Replace(seller, "  calls: [{cidr: 0.0.0.0/0}]\n", "", 1))
	for _, from := range []string{"a", "b", "c", "d", "e"} {
		s.workload = service(from)
		s.sees(callOf(checkout, "10.1.0.7", 8080))
	}
	s.workload = checkout
	s.sees(listens("10.1.0.7", 8080))
	s.tick(time.Hour, "low flow.contention the service graph")
	s.tick(30*time.Hour, "cleared flow.contention the service graph")
}
