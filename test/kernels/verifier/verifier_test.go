// SPDX-License-Identifier: Apache-2.0

// Package verifier_test knows what each program costs the verifier of each kernel, in instructions that it walks and states
// that it keeps: what grows there shows in the diff of testdata long before a kernel refuses the program, at a million.
package verifier_test

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/spoor/spoor/agent/kernel"
	"github.com/spoor/spoor/bpf"
)

var update = flag.Bool("update", false, "write the figures of this kernel, to the file named by SPOOR_TEST_OUT or to testdata")

const (
	// most is half of what kernels since 5.2 walk at all (BPF_COMPLEXITY_LIMIT_INSNS): room for kernels that nobody tried.
	most = 500_000
	// A figure may differ by so much, in percent, from the one that is written down: builds of a kernel differ in their types.
	tolerance = 10
	// refused stands for a program that the kernel did not take; the sensor does without it, and says so.
	refused = "refused"
)

// specs are the objects by the name of their sensor.
func specs() map[string]func() (*ebpf.CollectionSpec, error) {
	return map[string]func() (*ebpf.CollectionSpec, error){
		"dns": bpf.LoadDns, "file": bpf.LoadFile, "memory": bpf.LoadMemory, "names": bpf.LoadNames,
		"process": bpf.LoadProcess, "readback": bpf.LoadReadback, "socket": bpf.LoadSocket, "udp": bpf.LoadUdp,
	}
}

// cost is what the verifier said of one program.
type cost struct{ instructions, states int }

func (c cost) String() string {
	if c == (cost{}) {
		return refused
	}
	return fmt.Sprintf("%d %d", c.instructions, c.states)
}

// https://docs.kernel.org/bpf: print_verification_stats() of kernel/bpf/verifier.c
var stats = regexp.MustCompile(`processed (\d+) insns .* total_states (\d+) `)

// load has the kernel verify one program of an object.
func load(spec *ebpf.CollectionSpec, name string) (cost, error) {
	spec = spec.Copy()
	for other := range spec.Programs {
		if other != name {
			delete(spec.Programs, other)
		}
	}
	set, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
		Programs: ebpf.ProgramOptions{LogLevel: ebpf.LogLevelStats},
	})
	if err != nil {
		return cost{}, err
	}
	defer set.Close()
	log := set.Programs[name].VerifierLog
	m := stats.FindStringSubmatch(log)
	if m == nil {
		return cost{}, fmt.Errorf("the verifier's log has no figures: %q", log)
	}
	var c cost
	var errI, errS error
	c.instructions, errI = strconv.Atoi(m[1])
	c.states, errS = strconv.Atoi(m[2])
	return c, errors.Join(errI, errS)
}

// measured is the cost of every program on this kernel.
func measured(t *testing.T) map[string]cost {
	t.Helper()
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Logf("before 5.11 maps count as locked memory: %v", err)
	}
	costs := map[string]cost{}
	for sensor, open := range specs() {
		spec, err := open()
		if err != nil {
			t.Fatal(err)
		}
		for name := range spec.Programs {
			c, err := load(spec, name)
			if _, rejected := errors.AsType[*ebpf.VerifierError](err); rejected && !errors.Is(err, unix.EPERM) {
				t.Logf("%s: %v", name, err)
			}
			costs[sensor+"/"+name] = c
		}
	}
	return costs
}

// file is named after the kernel's series and the architecture: 6.1-amd64.
func file(t *testing.T) string {
	t.Helper()
	var major, minor int
	release, _ := kernel.Release()
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	return filepath.Join("testdata", fmt.Sprintf("%d.%d-%s", major, minor, runtime.GOARCH))
}

// read returns the figures of a file: a program, instructions and states a line.
func read(t *testing.T, name string) map[string]cost {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	costs := map[string]cost{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		program, rest, _ := strings.Cut(lines.Text(), " ")
		var c cost
		if _, err := fmt.Sscanf(rest, "%d %d", &c.instructions, &c.states); err != nil && rest != refused {
			t.Fatalf("%s: line %q: %v", name, lines.Text(), err)
		}
		costs[program] = c
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return costs
}

func TestCost(t *testing.T) {
	name, costs := file(t), measured(t)
	loaded := 0
	for program, c := range costs {
		if c.instructions > most {
			t.Errorf("%s: %d instructions are more than %d", program, c.instructions, most)
		}
		if c != (cost{}) {
			loaded++
		}
	}
	if loaded == 0 {
		t.Fatal("the kernel takes none of the programs")
	}
	if *update {
		write(t, name, costs)
		return
	}
	if _, err := os.Stat(name); errors.Is(err, os.ErrNotExist) {
		t.Logf("there are no figures for this kernel: %d programs cost less than %d instructions each", loaded, most)
		return
	}
	compare(t, read(t, name), costs)
}

func compare(t *testing.T, want, got map[string]cost) {
	t.Helper()
	const hint = `; when that is meant, run "make verifier-cost"`
	for program, was := range want {
		is, known := got[program]
		switch {
		case !known:
			t.Errorf("%s is gone%s", program, hint)
		case was == cost{} || was == is: // what one build of a kernel refuses another may take
		case is == cost{}:
			t.Errorf("%s is refused", program)
		case 100*abs(is.instructions-was.instructions) > tolerance*was.instructions:
			t.Errorf("%s costs %d instructions, not %d%s", program, is.instructions, was.instructions, hint)
		}
	}
	for program := range got {
		if _, known := want[program]; !known {
			t.Logf("%s has no figures%s", program, hint)
		}
	}
}

func abs(n int) int { return max(n, -n) }

func write(t *testing.T, name string, costs map[string]cost) {
	t.Helper()
	var b strings.Builder
	for _, program := range slices.Sorted(maps.Keys(costs)) {
		fmt.Fprintf(&b, "%s %s\n", program, costs[program])
	}
	if out := os.Getenv("SPOOR_TEST_OUT"); out != "" {
		name = out
	}
	if err := os.WriteFile(name, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
