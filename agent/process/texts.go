// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/spoor/spoor/agent/workload"
)

// Bytes of /proc/PID/cmdline that are read: as much as the kernel side collects.
const maxArgs = 4096

// text makes valid UTF-8 of the kernel's bytes: a protobuf string must be.
func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

const (
	// Bytes of the texts of all images that are remembered: 500 each, where there are as many as can be. And a quarter of that of those of one instance.
	maxTexts = 32 << 20
	// What is kept of an image's texts when there is no room: that has its bound by how many images are remembered.
	shortArgs, shortPath = 512, 256
	// Bytes of a string's header.
	header = 16
)

// texts is what an image and its forks have in common, and who had them first.
type texts struct {
	bytes, images int
	of            *workload.Instance
}

// setTexts gives an image its texts. Whoever has many images with long ones has the next ones cut, so that nobody fills the agent's memory.
func (t *Table) setTexts(p *Process, exe, cwd string, args []string, truncated bool) {
	t.release(p)
	size := sizeOf(exe, cwd, args)
	if t.texts+size <= t.maxTexts && t.textsOf[p.Instance]+size <= t.maxTexts/4 {
		p.texts = &texts{bytes: size, images: 1, of: p.Instance}
		t.texts += size
		t.textsOf[p.Instance] += size
	} else if shorten(&exe, &cwd, &args) {
		truncated = true
		t.shortened++
	}

	to := p.Proto
	to.Exe, to.Cwd = text(exe), text(cwd)
	to.Args, to.ArgsRaw, to.ArgsTruncated = nil, nil, truncated
	if len(args) > 0 {
		to.Args = make([]string, 0, len(args))
	}
	for _, a := range args {
		to.Args = append(to.Args, text(a))
	}
	if raw := strings.Join(args, "\x00"); !utf8.ValidString(raw) {
		to.ArgsRaw = []byte(raw)
	}
}

// shareTexts gives a fork the texts of its parent.
func (t *Table) shareTexts(p, parent *Process) {
	from := parent.Proto
	p.Proto.Exe, p.Proto.Cwd = from.GetExe(), from.GetCwd()
	p.Proto.Args, p.Proto.ArgsRaw, p.Proto.ArgsTruncated = from.GetArgs(), from.GetArgsRaw(), from.GetArgsTruncated()
	if p.texts = parent.texts; p.texts != nil {
		p.texts.images++
	}
}

// release lets go of an image's texts.
func (t *Table) release(p *Process) {
	held := p.texts
	if p.texts = nil; held == nil {
		return
	}
	if held.images--; held.images > 0 {
		return
	}
	t.texts -= held.bytes
	if t.textsOf[held.of] -= held.bytes; t.textsOf[held.of] == 0 {
		delete(t.textsOf, held.of)
	}
}

// sizeOf is what texts take in memory, about: what is no UTF-8 is kept twice.
func sizeOf(exe, cwd string, args []string) int {
	size := 2*header + len(exe) + len(cwd)
	for _, a := range args {
		size += header + len(a)
		if !utf8.ValidString(a) {
			size += len(a)
		}
	}
	return size
}

// shorten keeps the end of paths and the beginning of arguments, and reports whether that is less than there was.
func shorten(exe, cwd *string, args *[]string) (short bool) {
	for _, path := range []*string{exe, cwd} {
		if len(*path) > shortPath {
			*path = "…" + strings.Clone((*path)[len(*path)-shortPath:])
			short = true
		}
	}
	room := shortArgs
	for i, a := range *args {
		if room -= header + len(a); room < 0 {
			*args = (*args)[:i:i]
			return true
		}
	}
	return short
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
	t.setTexts(p, exe, cwd, args, truncated)
}
