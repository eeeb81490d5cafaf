// SPDX-License-Identifier: Apache-2.0

package tutorial

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spoor/spoor/agent/kernel"
	"github.com/spoor/spoor/test/loopback"
	"github.com/spoor/spoor/test/scene"
)

// patience bounds every wait.
const patience = time.Minute

// expected is what must come of the block that has a text: regular expressions of its output.
var expected = []struct {
	block string
	says  []string
}{
	{"for i in 1 2 3", []string{`(?m)^visit 1$`, `(?m)^visit 3$`}},
	{"for i in 4 5 6", []string{`(?m)^visit 4$`, `(?m)^visit 6$`}},
	{"bin/spoor report", []string{`wrote \S+/count.txt`, `listen`, `Unit/visits.service`, `(?i)read what .* wrote|reads? back|earlier`}},
	{"contract learn", []string{`kind: Contract`, `state: stateful`, `count.txt`, `port: \d+`}},
	{"contract check", []string{`No problem found`}},
	{"contract test", []string{`state\.survives`, `state\.local`, `exit code 1`}},
	{"contract backtest", []string{`(?m)^wider `, `count.txt, class: cache`, `No longer found: 2`, `Pages in a shift`}},
	{"findings show", []string{`state\.survives`, `spec\.volumes`}},
	{"cp ", []string{`exit code 0`}},
	{"export networkpolicy", []string{`kind: NetworkPolicy`, `app: payments`, `wider than the contract`, `readOnlyRootFilesystem: true`}},
}

// blocks are what a page has to type: texts that are set in by four spaces.
func blocks(page string) []string {
	var all []string
	var block []string
	for line := range strings.Lines(page + "\nend\n") {
		text, in := strings.CutPrefix(line, "    ")
		switch {
		case in:
			block = append(block, text)
		case strings.TrimSpace(line) == "" || len(block) == 0:
		default:
			all = append(all, strings.Join(block, ""))
			block = nil
		}
	}
	return all
}

const systemdRun = `#!/bin/bash
for argument; do
	case $argument in
	--unit=*) unit=${argument#*=} ;;
	--working-directory=*) folder=${argument#*=} ;;
	*) break ;;
	esac
	shift
done
cgroup=$TUTORIAL_CGROUP/system.slice/$unit.service
mkdir -p "$cgroup" && cd "$folder" || exit
(echo "$BASHPID" >"$cgroup/cgroup.procs" && exec setsid "$@" </dev/null >/dev/null 2>&1) &
`

const systemctl = `#!/bin/bash
[ "$1" = stop ] || exit
cgroup=$TUTORIAL_CGROUP/system.slice/$2.service
echo 1 >"$cgroup/cgroup.kill"
for _ in $(seq 200); do
	rmdir "$cgroup" && exit
	sleep 0.05
done 2>/dev/null
exit 1
`

// session is the two terminals of a reader.
type session struct {
	*testing.T
	env   []string
	first *exec.Cmd
	said  *scene.Transcript
	ended chan error
}

func newSession(t *testing.T, fill func(string) string) *session {
	t.Helper()
	cgroups, err := kernel.CgroupMount()
	if err != nil || cgroups == "" {
		t.Fatalf("no cgroup v2 hierarchy is mounted, which units are told apart by: %v", err)
	}
	bin := t.TempDir()
	for name, text := range map[string]string{"sudo": "#!/bin/sh\nexec \"$@\"\n", "systemd-run": systemdRun, "systemctl": systemctl} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s := &session{T: t, env: append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "TUTORIAL_CGROUP="+cgroups,
		"SPOOR_LISTEN="+fill("127.0.0.1:7070"), "SPOOR_COLLECTOR=http://"+fill("127.0.0.1:7070"), "NO_COLOR=1")}
	t.Cleanup(func() {
		s.interrupt()
		// What the page tells to stop is stopped; this is for a page that fails half way.
		stop := s.command("systemctl stop visits")
		stop.Stderr = nil
		_ = stop.Run() // there is nothing to stop if all went well
	})
	return s
}

// command is a block in a shell that stops at the first line that fails, as a reader would; findings and differences are no failures.
func (s *session) command(block string) *exec.Cmd {
	cmd := exec.CommandContext(s.Context(), "bash", "-c", block)
	cmd.Dir, cmd.Env, cmd.WaitDelay = "../..", s.env, time.Second
	return cmd
}

// open starts `spoor up` in the first terminal, and waits until it is there.
func (s *session) open(block string) {
	s.Helper()
	s.interrupt()
	s.said, s.ended = &scene.Transcript{}, make(chan error, 1)
	s.first = s.command("exec " + block)
	s.first.Stdout, s.first.Stderr = s.said, s.said
	if err := s.first.Start(); err != nil {
		s.Fatal(err)
	}
	go func(cmd *exec.Cmd, ended chan error) { ended <- cmd.Wait() }(s.first, s.ended)
	for deadline := time.Now().Add(patience); !strings.Contains(s.said.String(), "web page "); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.Fatalf("%s does not say where its page is:\n%s", block, s.said)
		}
	}
}

// interrupt is Ctrl-C in the first terminal.
func (s *session) interrupt() {
	if s.first == nil {
		return
	}
	if err := s.first.Process.Signal(os.Interrupt); err != nil {
		s.Errorf("spoor up ended by itself: %v\n%s", err, s.said)
	}
	if err := <-s.ended; err != nil && s.Context().Err() == nil {
		s.Errorf("spoor up ended with %v:\n%s", err, s.said)
	}
	s.first = nil
}

// retype types a block, again and again while what must come of it has not come yet: what has just happened takes a moment to arrive.
func (s *session) retype(block string, says []string) {
	s.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Second) {
		var out bytes.Buffer
		cmd := s.command(block)
		cmd.Stdout, cmd.Stderr = &out, &out
		err := cmd.Run()
		missing := ""
		if exit := cmd.ProcessState.ExitCode(); exit > 1 {
			missing = "exit code 0 or 1: " + err.Error()
		}
		for _, want := range says {
			if !regexp.MustCompile(want).Match(out.Bytes()) {
				missing = want
			}
		}
		switch {
		case missing == "":
			s.Logf("%s\n=>\n%s", block, &out)
			return
		case strings.Contains(block, "systemd-run") || time.Now().After(deadline):
			s.Fatalf("%s\ndoes not say %s, but\n%s", block, missing, &out)
		}
	}
}

func TestTutorial(t *testing.T) {
	page, err := os.ReadFile("../../docs/tutorial.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	port := func() string { return strings.TrimPrefix(loopback.Free(t), "127.0.0.1:") }
	fill := strings.NewReplacer("/tmp/visits", dir+"/visits", "/tmp/spoor-tutorial", dir+"/data", "/var/lib/visits", dir+"/service", "8099", port(), "7070", port()).Replace
	s := newSession(t, fill)
	met := 0
	for _, block := range blocks(string(page)) {
		block = fill(block)
		// `make build` was done by whoever runs this.
		if _, args, found := strings.Cut(block, "sudo bin/spoor up"); found {
			s.open("bin/spoor up" + args)
			continue
		}
		if strings.Contains(block, "rm -r") {
			s.interrupt()
		}
		var says []string
		for _, e := range expected {
			if strings.Contains(block, e.block) {
				says, met = e.says, met+1
			}
		}
		s.retype(block, says)
	}
	if met != len(expected) {
		t.Errorf("%d of %d blocks that something must come of were met", met, len(expected))
	}
	for _, left := range []string{"visits", "data", "service"} {
		if _, err := os.Stat(filepath.Join(dir, left)); err == nil {
			t.Errorf("%s is left", left)
		}
	}
}
