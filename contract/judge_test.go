// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

func TestJudgeWithoutContracts(t *testing.T) {
	s := newScene(t)
	for _, j := range []*Judge{NewJudge(nil), NewJudge(s.judge.set)} {
		for _, fact := range []any{write(inode("/x", 1, layer)), call("203.0.113.7", 25), listens("0.0.0.0", 1), unlink(inode("/x", 1, layer))} {
			if got := j.Observe(s.event(fact)); got != nil {
				t.Errorf("%v", got)
			}
		}
		if got := j.Observe(nil); got != nil {
			t.Errorf("%v", got)
		}
		if got := j.Tick(dawn.Add(time.Hour)); got != nil {
			t.Errorf("%v", got)
		}
	}
}

func TestEventsThatLackParts(t *testing.T) {
	s := newScene(t, checkoutContract)
	for _, ev := range []*spoorv1.Event{
		{},
		{Instance: &spoorv1.Instance{}},
		{Instance: &spoorv1.Instance{Workload: checkout}},
		{Instance: &spoorv1.Instance{Workload: checkout}, Fact: &spoorv1.Event_FileWrite{}},
		{Instance: &spoorv1.Instance{Workload: checkout}, Fact: &spoorv1.Event_FileWrite{FileWrite: &spoorv1.FileWrite{}}},
		{Instance: &spoorv1.Instance{Workload: checkout}, Fact: &spoorv1.Event_FileChange{FileChange: &spoorv1.FileChange{}}},
		{Instance: &spoorv1.Instance{Workload: checkout}, Fact: &spoorv1.Event_Flow{Flow: &spoorv1.Flow{}}},
		{Instance: &spoorv1.Instance{Workload: checkout}, Fact: &spoorv1.Event_Listen{Listen: &spoorv1.Listen{}}},
		{Fact: &spoorv1.Event_Dns{}},
		{Fact: &spoorv1.Event_Coverage{}},
		{Fact: &spoorv1.Event_FileChange{}},
	} {
		if got := s.judge.Observe(ev); got != nil {
			t.Errorf("%v: %v", ev, got)
		}
	}
	// An event without a time is taken to be of now.
	ev := s.event(write(inode("/app/x", 7, layer)))
	ev.Time = nil
	s.judge.Tick(s.now)
	if got := s.judge.Observe(ev); len(got) != 1 || !got[0].Time.Equal(s.now) {
		t.Errorf("%+v", got)
	}
}

// Whatever happens, a Judge holds no more than its limits, and says what it gave up.
func TestLimits(t *testing.T) {
	limits := DefaultLimits()
	limits.Workloads, limits.Instances, limits.Files, limits.FilesPerInstance = 10, 10, 6, 4
	limits.Matters, limits.MattersPerRule, limits.Held, limits.Names, limits.Processes = 10, 5, 10, 10, 10
	anybody := strings.NewReplacer("name: checkout}", `name: "*"}`, "name: checkout,", "name: any,", "spec:", "spec:\n  state: stateless").Replace(checkoutContract)
	s := newSceneWithLimits(t, limits, anybody)
	for i := range 3000 {
		s.after(10 * time.Millisecond)
		n := uint64(i) * 7919 % 997
		s.workload = &spoorv1.Workload{Namespace: "shop", Kind: "Deployment", Name: fmt.Sprint(n % 30)}
		s.instance, s.tgid = fmt.Sprint(n%50), uint32(n%90)+1
		for _, fact := range []any{
			&spoorv1.ProcessStart{Cause: spoorv1.ProcessStart_CAUSE_FOUND},
			write(inode(fmt.Sprintf("/tmp/%d", n), n, layer)), write(inode(fmt.Sprintf("/tmp/%d", n+1), n+1, layer)),
			write(inode(fmt.Sprintf("/tmp/%d", n+2), n+2, layer)), write(inode(fmt.Sprintf("/app/x%c", 'a'+rune(n%26)), n+1000, layer)),
			call(fmt.Sprintf("10.1.0.%d", n%250), 8443), call(fmt.Sprintf("10.99.0.%d", n%250), 22), listens("0.0.0.0", uint32(n)+1),
			&spoorv1.Dns{Name: "a.b", Addresses: []string{fmt.Sprintf("10.99.1.%d", n%250)}}, unlink(inode("/tmp/x", n/2, layer)),
		} {
			s.judge.Observe(s.event(fact))
		}
		if i%7 == 0 {
			s.judge.Observe(s.event(&spoorv1.ProcessExit{}))
		}
		if i%100 == 0 {
			s.judge.Tick(s.now)
			consistent(t, s.judge)
		}
	}
	st := s.judge.Stats()
	for what, n := range map[string]uint64{
		"workloads": st.EvictedWorkloads, "files": st.EvictedFiles, "matters": st.EvictedMatters, "held": st.EvictedHeld, "names": st.EvictedNames,
		"instances": st.EvictedInstances, "processes": st.EvictedProcesses,
	} {
		if n == 0 {
			t.Errorf("no eviction of %s is counted", what)
		}
	}
	s.judge.Tick(s.now.Add(1000 * time.Hour))
	consistent(t, s.judge)
	if len(s.judge.schedule.queue) != 0 {
		t.Errorf("%d values wait for nothing", len(s.judge.schedule.queue))
	}
}

// consistent checks that the parts of a Judge agree with each other and with its limits.
func consistent(t *testing.T, j *Judge) {
	t.Helper()
	st, l := j.Stats(), j.limits
	if st.Workloads > l.Workloads || st.Instances > l.Instances || st.Files > l.Files || st.Matters > l.Matters || st.Held > l.Held || st.Names > l.Names || st.Processes > l.Processes {
		t.Fatalf("more than the limits: %+v", st)
	}
	instances, files, matters, held := 0, 0, 0, 0
	causes := map[*matter]int{}
	for _, w := range j.workloads.all() {
		matters += len(w.matters)
		held += len(w.held)
		instances += len(w.instances)
		for _, m := range w.matters {
			causes[m] += 0
		}
		for _, in := range w.instances {
			if in.dead || in.files.len() > l.FilesPerInstance {
				t.Fatalf("instance %+v", in.key)
			}
			files += in.files.len()
			sizes := make([]uint64, len(in.scratch))
			for _, f := range in.allFiles() {
				if f.matter != nil {
					causes[f.matter]++
				}
				if f.scratch >= 0 {
					sizes[f.scratch] += f.size
				}
				found := false
				for g := j.files[f.id]; g != nil; g = g.next {
					found = found || g == f
				}
				if !found || len(f.names) == 0 || len(f.names) > maxLinks {
					t.Fatalf("file %v %q", f.id, f.names)
				}
			}
			for i := range sizes {
				if sizes[i] != in.scratch[i].bytes {
					t.Fatalf("scratch %d holds %d bytes, counted are %d", i, sizes[i], in.scratch[i].bytes)
				}
				if m := in.scratch[i].matter; m != nil {
					causes[m]++
				}
			}
			for path, f := range in.byPath {
				if known, _ := in.files.get(f.id); known != f {
					t.Fatalf("path %q leads to a file that is not watched", path)
				}
			}
			for _, m := range in.ports {
				causes[m]++
			}
		}
	}
	indexed := 0
	for _, f := range j.files {
		for ; f != nil; f = f.next {
			indexed++
		}
	}
	if instances != st.Instances || files != st.Files || indexed != st.Files || matters != st.Matters || held != st.Held {
		t.Fatalf("instances %d/%d, files %d/%d/%d, matters %d/%d, held %d/%d", instances, st.Instances, files, indexed, st.Files, matters, st.Matters, held, st.Held)
	}
	for m, n := range causes {
		if !m.dead && m.causes != n {
			t.Fatalf("%v has %d causes, counted are %d", m.key, n, m.causes)
		}
	}
	for i, v := range j.schedule.queue {
		if v.when().position != i+1 {
			t.Fatal("the schedule has lost count")
		}
	}
}

func TestReload(t *testing.T) {
	s := newScene(t, checkoutContract)
	s.sees(write(inode("/app/x", 7, layer)), "medium state.local /app/x")
	s.sees(write(inode("/app/y", 8, layer)), "medium state.local /app/y")
	s.sees(callOf(stranger, "10.1.0.9", 22), "medium flow.egress east/lab/Deployment/stranger:22/tcp")
	s.sees(call("203.0.113.7", 25), "high flow.egress 203.0.113.7:25/tcp")
	s.sees(listens("0.0.0.0", 9000), "medium flow.listener *:9000/tcp")
	s.sees(write(inode("/tmp/z", 9, layer)))

	s.expect("the same contract", s.judge.Reload(mustSet(t, "# moved by a line\n"+checkoutContract)), nil)
	consistent(t, s.judge)

	wider := strings.NewReplacer(
		"maxAge: 10m, maxBytes: 1Mi}", "maxAge: 10m, maxBytes: 1Mi}\n    - {path: /app/x, maxAge: 1h}",
		"listens: [{port: 8443}]", "listens: [{port: 8443}, {port: 9000}]",
		"  calls:\n", "  calls:\n    - {workload: lab/Deployment/stranger}\n").Replace(checkoutContract)
	got := map[string]bool{}
	for _, v := range s.judge.Reload(mustSet(t, wider)) {
		got[tale(&v)] = true
	}
	for _, want := range []string{"cleared state.local /app/x", "cleared flow.egress east/lab/Deployment/stranger:22/tcp", "cleared flow.listener *:9000/tcp"} {
		if !got[want] {
			t.Errorf("not told: %s", want)
		}
		delete(got, want)
	}
	if len(got) != 0 {
		t.Errorf("told too much: %v", got)
	}
	consistent(t, s.judge)
	// What was watched goes on being watched.
	s.tick(10*time.Minute, "medium state.local /tmp/z")
	s.sees(unlink(inode("/app/y", 8, layer)))
	s.tick(time.Minute, "cleared state.local /app/y")

	got = map[string]bool{}
	for _, v := range s.judge.Reload(nil) {
		got[tale(&v)] = true
	}
	if len(got) != 2 || !got["cleared state.local /tmp/z"] || !got["cleared flow.egress 203.0.113.7:25/tcp"] {
		t.Errorf("without a contract: %v", got)
	}
	s.sees(write(inode("/app/y", 8, layer)))
	s.expect("back again", s.judge.Reload(mustSet(t, checkoutContract)), nil)
	s.sees(write(inode("/app/y", 8, layer)), "medium state.local /app/y")
	consistent(t, s.judge)
}

// FuzzJudge plays any events, some of them of one workload and about a few files and peers, so that they meet.
func FuzzJudge(f *testing.F) {
	seed := newScene(&testing.T{}, checkoutContract)
	for _, fact := range []any{
		write(inode("/tmp/a", 1, layer)), writeSize(inode("/tmp/b", 2, layer), 2<<20), write(inode("/app/a", 1, layer)), rename(inode("/tmp/a", 1, layer), "/app/a"),
		link(inode("/tmp/a", 1, layer), "/app/b"), unlink(inode("/app/a", 1, layer)), create(inode("/tmp/a", 1, layer)), call("10.1.0.8", 8443),
		callOf(payments, "10.1.0.8", 8443), callNamed("a.b", "203.0.113.7", 443), calledBy(stranger, "10.1.0.9", 8443), listens("::", 9000),
		closed(listens("::", 9000)), &spoorv1.Dns{Name: "a.b", Addresses: []string{"203.0.113.7"}}, &spoorv1.ProcessStart{Cause: spoorv1.ProcessStart_CAUSE_FOUND},
		&spoorv1.ProcessExit{}, &spoorv1.Coverage{Sensor: "dns", Tier: "off"},
	} {
		text, err := protojson.Marshal(seed.event(fact))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text), []byte{3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9})
	}
	both, one := mustSet(f, checkoutContract, batchContract), mustSet(f, checkoutContract)
	f.Fuzz(func(t *testing.T, text string, play []byte) {
		limits := DefaultLimits()
		limits.Files, limits.FilesPerInstance, limits.Matters, limits.MattersPerRule, limits.Held, limits.Workloads, limits.Instances, limits.Processes = 6, 4, 5, 3, 2, 3, 3, 3
		s := &scene{t: t, judge: NewJudgeWithLimits(both, limits), now: dawn}
		given := &spoorv1.Event{}
		if protojson.Unmarshal([]byte(text), given) != nil {
			given = nil
		}
		classes := []spoorv1.StorageClass{layer, emptyDir, claim, hostPath, tmpfs, disk, 0}
		paths := []string{"/tmp/a", "/tmp/b", "/app/a", "/app", "/app/a/b", "/var/cache/tpl/x", "", "rel", "/tmp/\xff", "/run/app/x"}
		open := map[string]bool{}
		check := func(verdicts []Verdict) {
			for i := range verdicts {
				v := &verdicts[i]
				if v.Rule == "" || v.Subject == "" || v.Title == "" || v.Why == "" || v.Fix == "" || v.Severity == 0 || v.Workload == nil {
					t.Fatalf("half a verdict: %+v", v)
				}
				if v.Cleared && !open[v.Fingerprint()] {
					t.Fatalf("cleared and never told: %s", tale(v))
				}
				if !v.Cleared && len(v.Evidence) == 0 {
					t.Fatalf("no evidence: %s", tale(v))
				}
				open[v.Fingerprint()] = !v.Cleared
			}
		}
		for i := 0; i+2 < len(play); i += 3 {
			a, b, c := play[i], int(play[i+1]), int(play[i+2])
			file := inode(paths[b%len(paths)], uint64(b/16), classes[c%len(classes)])
			s.after(time.Duration(c) * time.Second)
			s.instance, s.tgid = fmt.Sprint("i", b%3), uint32(c%4)
			s.workload = []*spoorv1.Workload{checkout, batch, stranger, nil}[c/64]
			address := fmt.Sprintf("10.1.0.%d", b%4)
			var fact any
			switch a % 16 {
			case 0:
				fact = writeSize(file, uint64(c)<<14)
			case 1:
				fact = rename(file, paths[c%len(paths)])
			case 2:
				fact = link(file, paths[c%len(paths)])
			case 3:
				fact = unlink(file)
			case 4:
				fact = create(file)
			case 5:
				fact = write(unlinked(file))
			case 6:
				fact = call(address, 8443)
			case 7:
				fact = callOf([]*spoorv1.Workload{payments, stranger, batch}[c%3], address, 8443)
			case 8:
				fact = calledBy([]*spoorv1.Workload{frontend, nil, stranger}[c%3], address, uint32(8443+b%2))
			case 9:
				fact = listens("0.0.0.0", uint32(c))
			case 10:
				fact = closed(listens("0.0.0.0", uint32(c)))
			case 11:
				fact = &spoorv1.ProcessStart{Cause: spoorv1.ProcessStart_CAUSE_FOUND}
			case 12:
				fact = &spoorv1.ProcessExit{}
			case 13:
				check(s.judge.Tick(s.now))
			case 14:
				check(s.judge.Reload([]*Set{s.judge.set, nil, one, both}[c%4]))
			case 15:
				if given != nil {
					check(s.judge.Observe(proto.CloneOf(given)))
				}
			}
			if fact != nil {
				ev := s.event(fact)
				if c == 255 {
					ev.Time = &timestamppb.Timestamp{Seconds: 1 << 62, Nanos: -5}
				}
				check(s.judge.Observe(ev))
			}
			consistent(t, s.judge)
		}
		check(s.judge.Tick(s.now.Add(10000 * time.Hour)))
		consistent(t, s.judge)
	})
}
