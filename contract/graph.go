// SPDX-License-Identifier: Apache-2.0

package contract

// graph is who calls whom, by number. There is at most one edge for each pair, and none from a vertex to itself.
type graph struct {
	out, in [][]int
}

func newGraph(vertices int) *graph {
	return &graph{out: make([][]int, vertices), in: make([][]int, vertices)}
}

func (g *graph) add(from, to int) {
	g.out[from] = append(g.out[from], to)
	g.in[to] = append(g.in[to], from)
}

// reach returns what can be reached from a vertex along edges, without the vertex itself and as if another were not there.
func reach(edges [][]int, from, without int) []bool {
	seen := make([]bool, len(edges))
	queue := []int{from}
	seen[from] = true
	for len(queue) > 0 {
		v := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for _, next := range edges[v] {
			if !seen[next] && next != without {
				seen[next] = true
				queue = append(queue, next)
			}
		}
	}
	seen[from] = false
	return seen
}

// members counts them.
func members(set []bool) int {
	n := 0
	for _, in := range set {
		if in {
			n++
		}
	}
	return n
}

// articulations finds the vertices whose loss parts the graph when directions are ignored (Hopcroft and Tarjan 1973), without
// recursion: a service graph may be one long chain.
func (g *graph) articulations() []bool {
	n := len(g.out)
	cut := make([]bool, n)
	order, low, parent := make([]int, n), make([]int, n), make([]int, n)
	next := make([]int, n) // of the neighbours of a vertex
	neighbour := func(v, i int) (int, bool) {
		switch out := len(g.out[v]); {
		case i < out:
			return g.out[v][i], true
		case i < out+len(g.in[v]):
			return g.in[v][i-out], true
		default:
			return 0, false
		}
	}
	clock := 0
	for root := range n {
		if order[root] > 0 {
			continue
		}
		clock++
		order[root], low[root], parent[root] = clock, clock, -1
		branches := 0
		for stack := []int{root}; len(stack) > 0; {
			v := stack[len(stack)-1]
			w, more := neighbour(v, next[v])
			next[v]++
			switch {
			case more && order[w] == 0:
				clock++
				order[w], low[w], parent[w] = clock, clock, v
				stack = append(stack, w)
			case more && w != parent[v]:
				low[v] = min(low[v], order[w])
			case more:
			default:
				stack = stack[:len(stack)-1]
				up := parent[v]
				switch {
				case up < 0:
				case up == root:
					branches++
				case low[v] >= order[up]:
					cut[up] = true
				}
				if up >= 0 {
					low[up] = min(low[up], low[v])
				}
			}
		}
		cut[root] = branches > 1
	}
	return cut
}
