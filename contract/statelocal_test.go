// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// Where a write is state and where it is not.
func TestStateLocalByPlace(t *testing.T) {
	stateful := strings.Replace(checkoutContract, "spec:", "spec:\n  state: stateful", 1)
	daemon := strings.ReplaceAll(checkoutContract, "kind: Deployment,", "kind: DaemonSet,")
	kind := func(w *spoorv1.Workload, kind string) *spoorv1.Workload {
		return &spoorv1.Workload{Cluster: w.GetCluster(), Namespace: w.GetNamespace(), Kind: kind, Name: w.GetName()}
	}
	pseudoFile := inode("/proc/self/oom_score_adj", 7, disk)
	pseudoFile.FsType = "proc"
	cut := func(path string) *spoorv1.File {
		f := inode(path, 7, layer)
		f.PathTruncated = true
		return f
	}
	attributes := write(inode("/app/x", 7, layer))
	attributes.Data, attributes.SizeBefore = false, 100
	truncatedTo := write(inode("/app/x", 7, layer))
	truncatedTo.Data, truncatedTo.SizeBefore = false, 200
	rawName := inode("/app/bad\ufffdname", 7, layer)
	rawName.PathRaw = []byte("/app/bad\xffname")

	for _, tc := range []struct {
		name     string
		contract string
		workload *spoorv1.Workload
		write    *spoorv1.FileWrite
		want     []string
	}{
		{"writable layer", checkoutContract, checkout, write(inode("/app/data/cart.json", 7, layer)), []string{"medium state.local /app/data/cart.json"}},
		{"emptyDir", checkoutContract, checkout, write(inode("/scratch/x", 7, emptyDir)), []string{"medium state.local /scratch/x"}},
		{"host path", checkoutContract, checkout, write(inode("/host/x", 7, hostPath)), []string{"medium state.local /host/x"}},
		{"persistent volume", checkoutContract, checkout, write(inode("/data/x", 7, claim)), nil},
		{"tmpfs of a pod", checkoutContract, checkout, write(inode("/dev/shm/x", 7, tmpfs)), nil},
		{"configuration", checkoutContract, checkout, write(inode("/etc/x", 7, spoorv1.StorageClass_STORAGE_CLASS_CONFIG)), nil},
		{"unknown class", checkoutContract, checkout, write(inode("/etc/x", 7, 0)), nil},
		{"scratch", checkoutContract, checkout, write(inode("/tmp/x", 7, layer)), nil},
		{"scratch without wildcards", checkoutContract, checkout, write(inode("/run/app/pid", 7, layer)), nil},
		{"volume", checkoutContract, checkout, write(inode("/var/cache/tpl/a/b", 7, layer)), nil},
		{"beside the volume", checkoutContract, checkout, write(inode("/var/cache/tplx", 7, layer)), []string{"low state.local /var/cache/tplx"}},
		{"attributes alone", checkoutContract, checkout, attributes, nil},
		{"truncation", checkoutContract, checkout, truncatedTo, []string{"medium state.local /app/x"}},
		{"unlinked already", checkoutContract, checkout, write(unlinked(inode("/app/x", 7, layer))), nil},
		{"memfd", checkoutContract, checkout, write(inode("memfd:x", 7, tmpfs)), nil},
		{"pseudo file system", checkoutContract, checkout, write(pseudoFile), nil},
		{"name with odd bytes", checkoutContract, checkout, write(rawName), []string{"medium state.local /app/bad?name"}},
		{"name with a newline", checkoutContract, checkout, write(inode("/app/a\nb", 7, layer)), []string{"medium state.local /app/a?b"}},
		{"cut name that a wide pattern may cover", checkoutContract, checkout, write(cut("b/c")), nil},
		{"cut name that nothing covers", doc("c", `{kind: Deployment, name: checkout}`), checkout, write(cut("b/c")), []string{"medium state.local /**/b/c"}},
		{"no name at all", doc("c", `{kind: Deployment, name: checkout}`), checkout, write(inode("", 7, layer)), []string{"medium state.local /**"}},
		{"stateful by contract", stateful, checkout, write(inode("/app/x", 7, layer)), nil},
		{"kind that promises nothing", daemon, kind(checkout, "DaemonSet"), write(inode("/app/x", 7, layer)), nil},
		{"unit on its host", batchContract, batch, write(inode("/var/tmp/demo", 7, disk)), []string{"medium state.local /var/tmp/demo"}},
		{"unit in memory", batchContract, batch, write(inode("/run/demo", 7, tmpfs)), []string{"medium state.local /run/demo"}},
		{"unit in scratch", batchContract, batch, write(inode("/tmp/demo", 7, tmpfs)), nil},
		{"unit without a word about state", strings.Replace(batchContract, "state: stateless", "", 1), batch, write(inode("/var/tmp/demo", 7, disk)), nil},
		{"no contract", checkoutContract, stranger, write(inode("/app/x", 7, layer)), nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newScene(t, tc.contract)
			s.workload = tc.workload
			s.sees(tc.write, tc.want...)
		})
	}
}

func TestUnjudgedIsCounted(t *testing.T) {
	s := newScene(t, checkoutContract)
	s.sees(write(inode("/etc/x", 7, 0)))
	cut := inode("b/c", 8, layer)
	cut.PathTruncated = true
	s.sees(write(cut))
	if got := s.judge.Stats().Unjudged; got != (Unjudged{StorageClass: 1, Path: 1}) {
		t.Errorf("%+v", got)
	}
}

func TestStateLocalVerdict(t *testing.T) {
	s := newScene(t, checkoutContract)
	s.sees(write(inode("/app/data/1234.json", 7, layer)), "medium state.local /app/data/*.json")
	v := s.last[0]
	for what, pair := range map[string][2]string{
		"title":    {v.Title, "Deployment shop/checkout keeps /app/data/*.json in the container's writable layer, outside its scratch and volumes"},
		"why":      {v.Why, "The file is lost when the container is replaced, and no other replica has it: a stateless service that relies on it breaks when it is moved, scaled or restarted. It was written by app (/usr/bin/app) and holds 100 bytes."},
		"fix":      {v.Fix, `Keep it in a backing service. If nobody misses it, add it to spec.scratch of contract shop/checkout (test.yaml:2): - {path: /app/data/*.json, maxAge: 10m}. If it may stay, mount a volume there and add it to spec.volumes: - {path: /app/data, class: data}`},
		"contract": {v.Contract, "shop/checkout"},
		"team":     {v.Owner.GetTeam(), "payments"},
		"oncall":   {v.Owner.GetOncall(), "payments-primary"},
		"time":     {v.Time.String(), dawn.String()},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s:\n got %s\nwant %s", what, pair[0], pair[1])
		}
	}
	if v.Workload != checkout || len(v.Evidence) != 1 || v.Evidence[0].GetFileWrite() == nil || v.Cleared {
		t.Errorf("%+v", v)
	}
	if got := v.Fingerprint(); len(got) != 64 {
		t.Errorf("fingerprint %q", got)
	}
	w := v
	w.Title, w.Time, w.Cleared = "", time.Time{}, true
	if v.Fingerprint() != w.Fingerprint() {
		t.Error("the fingerprint depends on more than rule, workload and subject")
	}
	w.Subject = "/app/data/"
	if v.Fingerprint() == w.Fingerprint() {
		t.Error("the fingerprint does not depend on the subject")
	}
}

func TestScratchGrowsOld(t *testing.T) {
	s := newScene(t, checkoutContract)
	s.sees(write(inode("/tmp/upload-1", 7, layer)))
	s.sees(write(inode("/tmp/kept", 8, layer)))
	s.tick(5 * time.Minute)
	s.sees(unlink(inode("/tmp/upload-1", 7, layer)))
	s.tick(299 * time.Second)
	s.tick(time.Second, "medium state.local /tmp/kept")
	v := s.last[0]
	if want := "Deployment shop/checkout keeps scratch file /tmp/kept for longer than 10m"; v.Title != want {
		t.Errorf("title %q", v.Title)
	}
	if want := `raise the limit under spec.scratch of contract shop/checkout (test.yaml:2): - {path: /tmp/**, maxAge: 1h, maxBytes: 1Mi}`; !strings.HasSuffix(v.Fix, want) {
		t.Errorf("fix %q", v.Fix)
	}
	if !v.Time.Equal(dawn.Add(10 * time.Minute)) {
		t.Errorf("happened at %v", v.Time)
	}
	s.tick(time.Hour)
	// Removed at last: cleared, after a while without another.
	s.sees(unlink(inode("/tmp/kept", 8, layer)))
	s.tick(9 * time.Second)
	s.tick(time.Second, "cleared state.local /tmp/kept")
	if v := s.last[0]; len(v.Evidence) != 1 || v.Evidence[0].GetFileChange() == nil || v.Title == "" {
		t.Errorf("%+v", v)
	}
	s.tick(24 * time.Hour)
}

// Without ticks, as in a replay, the next write to the file says that it is too old.
func TestScratchGrowsOldWithoutTick(t *testing.T) {
	s := newScene(t, checkoutContract)
	s.sees(write(inode("/tmp/kept", 8, layer)))
	s.after(9 * time.Minute).sees(write(inode("/tmp/kept", 8, layer)))
	s.after(time.Minute).sees(write(inode("/tmp/kept", 8, layer)), "medium state.local /tmp/kept")
	s.tick(time.Second)
}

// A stateful workload, or one that nobody calls stateless, is held to the limits that its contract writes and to no other.
func TestScratchLimitsOfOthers(t *testing.T) {
	s := newScene(t, `
apiVersion: spoor.dev/v1
kind: Contract
metadata: {name: db}
spec:
  workload: {kind: StatefulSet, name: db}
  scratch: [{path: /tmp, maxAge: 1h}, {path: /sort}]
`)
	s.workload = &spoorv1.Workload{Namespace: "shop", Kind: "StatefulSet", Name: "db"}
	s.sees(write(inode("/tmp/a", 1, layer)))
	s.sees(write(inode("/sort/b", 2, layer)))
	s.sees(write(inode("/data/c", 3, layer)))
	s.tick(time.Hour, "medium state.local /tmp/a")
}

func TestScratchGrowsLarge(t *testing.T) {
	s := newScene(t, checkoutContract)
	s.sees(writeSize(inode("/tmp/a", 1, layer), 600<<10))
	s.sees(writeSize(inode("/tmp/b", 2, layer), 400<<10))
	s.sees(writeSize(inode("/tmp/b", 2, layer), 500<<10), "medium state.local /tmp/** (total size)")
	if v := s.last[0]; v.Title != "Deployment shop/checkout keeps 1100KiB below scratch path /tmp/**, more than 1Mi" {
		t.Errorf("title %q", v.Title)
	}
	// Each instance has its own; the verdict stands until the last is below the limit.
	s.instance = "i2"
	s.sees(writeSize(inode("/tmp/c", 3, layer), 2<<20))
	s.instance = "i1"
	s.sees(unlink(inode("/tmp/a", 1, layer)))
	s.tick(time.Minute)
	s.instance = "i2"
	s.sees(writeSize(inode("/tmp/c", 3, layer), 10))
	s.tick(time.Minute, "cleared state.local /tmp/** (total size)")
}

// What real programs do to files between the first byte and the final name.
func TestFilesAreFollowed(t *testing.T) {
	for _, tc := range []struct {
		name string
		play func(s *scene)
	}{
		{"written in scratch, renamed out of it", func(s *scene) {
			s.sees(write(inode("/tmp/new", 7, layer)))
			s.sees(rename(inode("/tmp/new", 7, layer), "/app/state"), "medium state.local /app/state")
			if got := len(s.last[0].Evidence); got != 2 {
				s.t.Errorf("%d events as evidence", got)
			}
			s.tick(time.Hour)
		}},
		{"linked out of scratch", func(s *scene) {
			s.sees(write(inode("/tmp/new", 7, layer)))
			s.sees(link(inode("/tmp/new", 7, layer), "/app/state"), "medium state.local /app/state")
			s.sees(unlink(inode("/tmp/new", 7, layer)))
			s.tick(time.Hour)
			s.sees(unlink(inode("/app/state", 7, layer)))
			s.tick(time.Minute, "cleared state.local /app/state")
		}},
		{"renamed into scratch", func(s *scene) {
			s.sees(write(inode("/app/x", 7, layer)), "medium state.local /app/x")
			s.sees(rename(inode("/app/x", 7, layer), "/tmp/x"))
			s.tick(time.Minute, "cleared state.local /app/x")
			s.tick(9*time.Minute, "medium state.local /tmp/x")
		}},
		{"renamed within the forbidden", func(s *scene) {
			s.sees(write(inode("/app/x.part", 7, layer)), "medium state.local /app/x.part")
			s.sees(rename(inode("/app/x.part", 7, layer), "/app/x"), "medium state.local /app/x")
			s.tick(time.Minute, "cleared state.local /app/x.part")
			s.sees(unlink(inode("/app/x", 7, layer)))
			s.tick(time.Minute, "cleared state.local /app/x")
		}},
		{"directory renamed out of scratch", func(s *scene) {
			s.sees(write(inode("/tmp/stage/a", 7, layer)))
			s.sees(write(inode("/tmp/stage/sub/b", 8, layer)))
			s.sees(write(inode("/tmp/stage2", 9, layer)))
			s.judge.Observe(s.event(rename(inode("/tmp/stage", 6, layer), "/app/live")))
			if n := s.judge.Stats().Matters; n != 2 {
				s.t.Errorf("%d matters", n)
			}
			s.sees(unlink(inode("/app/live/a", 7, layer)))
			s.tick(time.Minute, "cleared state.local /app/live/a")
		}},
		{"replaced by a rename", func(s *scene) {
			s.sees(write(inode("/app/x", 7, layer)), "medium state.local /app/x")
			s.sees(write(inode("/tmp/y", 8, layer)))
			s.sees(rename(inode("/tmp/y", 8, layer), "/app/x"))
			s.tick(time.Minute) // the new inode keeps the verdict open
			s.sees(unlink(inode("/app/x", 8, layer)))
			s.tick(time.Minute, "cleared state.local /app/x")
		}},
		{"removed before the summary of writes comes", func(s *scene) {
			s.sees(unlink(inode("/app/x", 7, layer)))
			s.sees(write(inode("/app/x", 7, layer)))
		}},
		{"renamed before the summary of writes comes", func(s *scene) {
			s.sees(rename(inode("/tmp/x", 7, layer), "/app/x"))
			s.sees(write(inode("/tmp/x", 7, layer)), "medium state.local /app/x")
		}},
		{"removed, and the inode used again", func(s *scene) {
			s.sees(unlink(inode("/app/x", 7, layer)))
			s.after(time.Second)
			again := write(inode("/app/y", 7, layer))
			again.First = timestamppb.New(s.now)
			s.sees(again, "medium state.local /app/y")
		}},
		{"created anew with the same inode", func(s *scene) {
			s.sees(write(inode("/tmp/x", 7, layer)))
			s.after(9 * time.Minute)
			s.sees(create(inode("/tmp/z", 7, layer)))
			s.sees(write(inode("/tmp/z", 7, layer)))
			s.tick(9 * time.Minute)
			s.tick(time.Minute, "medium state.local /tmp/z")
		}},
		{"creation told after the write", func(s *scene) {
			s.after(time.Second)
			s.sees(write(inode("/tmp/x", 7, layer)))
			s.now = s.now.Add(-time.Millisecond)
			s.sees(create(inode("/tmp/x", 7, layer)))
			s.tick(11*time.Minute, "medium state.local /tmp/x")
		}},
		{"removed by somebody without a contract", func(s *scene) {
			s.sees(write(inode("/app/x", 7, layer)), "medium state.local /app/x")
			s.workload = &spoorv1.Workload{Namespace: "node1", Kind: "Unit", Name: "systemd-tmpfiles-clean.service"}
			s.sees(unlink(inode("/app/x", 7, layer)))
			s.tick(time.Minute, "cleared state.local /app/x")
		}},
		{"removed, known by its path alone", func(s *scene) {
			s.sees(write(inode("/app/x", 7, layer)), "medium state.local /app/x")
			s.sees(unlink(&spoorv1.File{Path: "/app/x"}))
			s.tick(time.Minute, "cleared state.local /app/x")
		}},
		{"written again after its last link went", func(s *scene) {
			s.sees(write(inode("/app/x", 7, layer)), "medium state.local /app/x")
			s.sees(write(unlinked(inode("/app/x", 7, layer))))
			s.tick(time.Minute, "cleared state.local /app/x")
		}},
		{"one of two names removed", func(s *scene) {
			s.sees(write(inode("/app/x", 7, layer)), "medium state.local /app/x")
			s.sees(link(inode("/app/x", 7, layer), "/app/y"))
			s.sees(unlink(inode("/app/x", 7, layer)))
			s.tick(time.Hour)
		}},
		{"a name removed that was never seen", func(s *scene) {
			s.sees(write(inode("/app/x", 7, layer)), "medium state.local /app/x")
			s.sees(unlink(inode("/app/other", 7, layer)))
			s.tick(time.Hour)
		}},
		{"found under another name", func(s *scene) {
			s.sees(write(inode("/tmp/x", 7, layer)))
			s.sees(write(inode("/app/x", 7, layer)), "medium state.local /app/x")
		}},
		{"a volume is no business of its age", func(s *scene) {
			s.sees(write(inode("/var/cache/tpl/x", 7, layer)))
			s.tick(1000 * time.Hour)
			if n := s.judge.Stats().Files; n != 0 {
				s.t.Errorf("%d files are watched in vain", n)
			}
		}},
		{"back-dated: the time of the event counts, not the file's", func(s *scene) {
			w := write(inode("/tmp/x", 7, layer))
			w.First = timestamppb.New(s.now.Add(time.Hour))
			s.sees(w)
			s.tick(10*time.Minute, "medium state.local /tmp/x")
		}},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.play(newScene(t, checkoutContract)) })
	}
}

func TestOneVerdictOfManyEvents(t *testing.T) {
	s := newScene(t, checkoutContract)
	s.sees(write(inode("/app/x", 7, layer)), "medium state.local /app/x")
	for range 299 {
		s.after(time.Second).sees(write(inode("/app/x", 7, layer)))
	}
	s.after(time.Second).sees(write(inode("/app/x", 7, layer)), "medium state.local /app/x")
	s.after(time.Second).sees(write(inode("/app/x", 7, layer)))
}

func TestFamiliesAndFloodsOfNames(t *testing.T) {
	s := newScene(t, checkoutContract)
	// One family, one verdict.
	s.sees(write(inode("/app/data/1000.json", 1000, layer)), "medium state.local /app/data/*.json")
	for i := uint64(1001); i < 1100; i++ {
		s.sees(write(inode(fmt.Sprintf("/app/data/%d.json", i), i, layer)))
	}
	// Eight of a directory, then the directory.
	for i := range uint64(7) {
		name := fmt.Sprintf("/app/data/%c", 'a'+rune(i))
		s.sees(write(inode(name, i+1, layer)), "medium state.local "+name)
	}
	s.sees(write(inode("/app/data/z", 90, layer)), "medium state.local /app/data/*")
	s.sees(write(inode("/app/data/y", 91, layer)))
	// However many directories there are, the number of verdicts is bounded.
	told := 0
	for i := range uint64(1000) {
		told += len(s.judge.Observe(s.event(write(inode(fmt.Sprintf("/d%c%c%c/x", 'a'+rune(i%10), 'a'+rune(i/10%10), 'a'+rune(i/100)), 5000+i, layer)))))
	}
	if limit := s.judge.limits.MattersPerRule; told > limit || s.judge.Stats().Matters > limit+1 {
		t.Errorf("%d verdicts, %d matters", told, s.judge.Stats().Matters)
	}
}

// A file that comes and goes all the time must not open and close its finding all the time.
func TestRelapsesAreDamped(t *testing.T) {
	s := newScene(t, checkoutContract)
	told := 0
	for i := range uint64(720) { // a file for one second in every minute, for 12 hours
		told += len(s.judge.Observe(s.event(write(inode("/app/x", 7+i, layer)))))
		s.after(time.Second)
		told += len(s.judge.Observe(s.event(unlink(inode("/app/x", 7+i, layer)))))
		for range 59 {
			s.after(time.Second)
			told += len(s.judge.Tick(s.now))
		}
	}
	// Cleared three times at most, then open and repeated every five minutes.
	if limit := 2*3 + 12*12 + 1; told > limit {
		t.Errorf("%d verdicts, more than %d", told, limit)
	}
	s.tick(2*time.Hour, "cleared state.local /app/x")
}

func TestInstanceEnds(t *testing.T) {
	start := func(s *scene) {
		ev := s.event(&spoorv1.ProcessStart{Cause: spoorv1.ProcessStart_CAUSE_FORK})
		ev.Instance.StartTime = timestamppb.New(s.now)
		s.judge.Observe(ev)
	}
	exit := &spoorv1.ProcessExit{}
	for _, tc := range []struct {
		name string
		play func(s *scene)
	}{
		{"its layer goes with it", func(s *scene) {
			start(s)
			s.sees(write(inode("/tmp/x", 7, layer)))
			s.sees(write(inode("/app/y", 8, layer)), "medium state.local /app/y")
			s.sees(exit)
			s.tick(time.Minute, "cleared state.local /app/y")
			s.tick(time.Hour)
		}},
		{"the summary of what it wrote comes after its end", func(s *scene) {
			start(s)
			s.sees(exit)
			s.sees(write(inode("/tmp/x", 7, layer)))
			s.sees(write(inode("/app/y", 8, layer)), "medium state.local /app/y")
			s.tick(time.Minute, "cleared state.local /app/y")
			s.tick(time.Hour)
		}},
		{"its process number is used again", func(s *scene) {
			start(s)
			s.sees(exit)
			start(s)
			s.sees(write(inode("/tmp/x", 7, layer)))
			s.tick(time.Hour, "medium state.local /tmp/x")
		}},
		{"a host path stays", func(s *scene) {
			start(s)
			s.sees(write(inode("/tmp/x", 7, hostPath)))
			s.sees(exit)
			s.tick(time.Hour, "medium state.local /tmp/x")
		}},
		{"another process goes on", func(s *scene) {
			start(s)
			s.tgid = 101
			start(s)
			s.sees(write(inode("/tmp/x", 7, layer)))
			s.sees(exit)
			s.tick(time.Hour, "medium state.local /tmp/x")
		}},
		{"not all of its processes are known", func(s *scene) {
			s.sees(write(inode("/tmp/x", 7, layer)))
			s.tgid = 101
			start(s)
			s.sees(exit)
			s.tgid = 100
			s.sees(exit)
			s.tick(time.Hour, "medium state.local /tmp/x")
		}},
		{"its first process came from elsewhere", func(s *scene) {
			s.workload, s.instance = stranger, "runtime"
			start(s)
			s.workload, s.instance = checkout, "i1"
			start(s)
			s.sees(write(inode("/tmp/x", 7, layer)))
			s.sees(exit)
			s.tick(time.Hour)
		}},
		{"a process that left it does not keep it", func(s *scene) {
			start(s)
			s.sees(write(inode("/tmp/x", 7, layer)))
			s.workload, s.instance = stranger, "elsewhere"
			start(s)
			s.tick(time.Hour)
		}},
		{"listeners close with it", func(s *scene) {
			start(s)
			s.sees(listens("0.0.0.0", 9000), "medium flow.listener *:9000/tcp")
			s.sees(exit)
			s.tick(time.Minute, "cleared flow.listener *:9000/tcp")
		}},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.play(newScene(t, checkoutContract)) })
	}
}

// A node that reports no removals cannot tell a scratch file that is kept from one that went.
func TestScratchOnABlindNode(t *testing.T) {
	s := newScene(t, checkoutContract)
	s.blind()
	s.sees(write(inode("/tmp/a", 1, layer)))
	s.sees(write(inode("/tmp/b", 2, layer)))
	s.tick(10*time.Minute, "low state.local /tmp/** (removals are not seen)")
	v := s.last[0]
	if want := "Deployment shop/checkout was not seen to remove scratch file /tmp/a within 10m"; v.Title != want {
		t.Errorf("title %q", v.Title)
	}
	if want := "node1 reports no removals of files, so it may be gone, or may be state that is kept."; !strings.HasPrefix(v.Why, want) {
		t.Errorf("why %q", v.Why)
	}
	// A later write proves that the file is there.
	s.sees(write(inode("/tmp/b", 2, layer)), "medium state.local /tmp/b")
	// Files that went may be counted still, so only what one file holds is certain.
	for i := range uint64(20) {
		s.sees(writeSize(inode("/tmp/part", 10+i, layer), 100<<10))
	}
	s.sees(writeSize(inode("/tmp/large", 9, layer), 2<<20), "medium state.local /tmp/** (total size)")
	// What lies outside of scratch was there when it was written.
	s.sees(write(inode("/app/x", 3, layer)), "medium state.local /app/x")
}

// Two workloads write one file of the node: each has its own verdict, and the end of the file ends both.
func TestSharedFile(t *testing.T) {
	other := strings.NewReplacer("name: checkout,", "name: other,", "name: checkout}", "name: stranger}", "namespace: shop", "namespace: lab").Replace(checkoutContract)
	s := newScene(t, checkoutContract, other)
	s.sees(write(inode("/host/x", 7, hostPath)), "medium state.local /host/x")
	s.workload, s.instance = stranger, "s1"
	s.sees(write(inode("/host/x", 7, hostPath)), "medium state.local /host/x", "medium share.file /host/x")
	s.sees(unlink(inode("/host/x", 7, hostPath)))
	s.tick(time.Minute, "cleared state.local /host/x", "cleared state.local /host/x")
	if st := s.judge.Stats(); st.Files != 0 || len(s.judge.files) != 0 {
		t.Errorf("%+v", st)
	}
}

// What is made and removed is scratch, wherever it is; what stays for long enough to be seen is state.
func TestFilesThatSettle(t *testing.T) {
	s := newSceneWithLimits(t, DefaultLimits(), checkoutContract)
	s.sees(create(inode("/somewhere/else", 1<<40, layer))) // the node sees files go
	temporary, state := inode("/app/.state.tmp", 7, layer), inode("/app/state", 8, layer)
	s.sees(write(temporary))
	s.tick(10 * time.Second)
	s.sees(write(state))
	s.sees(unlink(temporary))
	s.tick(25 * time.Second)
	s.tick(5*time.Second, "medium state.local /app/state")
	// Written beside its place and renamed to it: it counts from when it was written, under its last name.
	s.sees(write(inode("/app/next.tmp", 9, layer)))
	s.sees(rename(inode("/app/next.tmp", 9, layer), "/app/next"))
	s.tick(29 * time.Second)
	s.tick(time.Second, "medium state.local /app/next")
}

func TestLeftovers(t *testing.T) {
	s := newScene(t, checkoutContract)
	for i, name := range []string{"/run/nginx.pid", "/var/lib/app/lock", "/app/.lock", "/app/__pycache__/x.cpython-311.pyc"} {
		s.sees(write(inode(name, uint64(i)+20, layer)))
	}
	// Neither do they become too old.
	for i, name := range []string{"/tmp/hsperfdata_app/17", "/tmp/app.pid", "/home/app/hsperfdata_app/17"} {
		s.sees(write(inode(name, uint64(i)+40, layer)))
	}
	s.sees(write(inode("/tmp/other", 50, layer)))
	s.tick(24*time.Hour, "medium state.local /tmp/other")
}
