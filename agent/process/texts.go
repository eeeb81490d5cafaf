// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// Bytes of /proc/PID/cmdline that are read: as much as the kernel side collects.
const maxArgs = 4096

// text makes valid UTF-8 of the kernel's bytes: a protobuf string must be.
func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func setTexts(p *spoorv1.Process, exe, cwd string, args []string, truncated bool) {
	p.Exe, p.Cwd = text(exe), text(cwd)
	p.Args, p.ArgsRaw, p.ArgsTruncated = nil, nil, truncated
	for _, a := range args {
		p.Args = append(p.Args, text(a))
	}
	if raw := strings.Join(args, "\x00"); !utf8.ValidString(raw) {
		p.ArgsRaw = []byte(raw)
	}
}

// readTexts fills what only /proc tells of a process that began before the sensor. One that ended, or whose number was
// given to another, keeps what is known.
func (t *Table) readTexts(p *Process) {
	dir := fmt.Sprintf("/proc/%d", p.Who.Tgid)
	if comm, err := os.ReadFile(dir + "/comm"); err == nil && p.Proto.GetComm() == "" {
		p.Proto.Comm = text(strings.TrimSuffix(string(comm), "\n"))
	}
	exe, err := os.Readlink(dir + "/exe")
	if err != nil { // a kernel thread, or gone
		return
	}
	cwd, err := os.Readlink(dir + "/cwd")
	if err != nil {
		return
	}
	f, err := os.Open(dir + "/cmdline")
	if err != nil {
		return
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxArgs+1))
	if err != nil {
		return
	}
	truncated := len(b) > maxArgs
	b = bytes.TrimSuffix(b[:min(len(b), maxArgs)], []byte{0})
	var args []string
	if len(b) > 0 {
		args = strings.Split(string(b), "\x00")
	}
	setTexts(p.Proto, exe, cwd, args, truncated)
}
