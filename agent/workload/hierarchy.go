// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/spoor/spoor/agent/kernel"
)

// Hierarchy is one tree of cgroups: the unified one (v2), or one of those that a v1 controller has for itself.
type Hierarchy struct {
	// As the kernel numbers them: 0 is the unified one.
	ID uint32
	// Of v1, the controller by which it is known.
	Controller string
	// Where it is mounted, as the agent can reach it.
	Mount string
}

// Ids of cgroups are counted in each hierarchy for itself. The kernel side says those of v1 with the hierarchy's number
// in the upper byte, which no count reaches (bpf/spoor.h).
const hierarchyShift = 56

// Key returns the id under which the kernel side reports the cgroup with this id of this hierarchy.
func Key(hierarchy uint32, id uint64) uint64 { return id | uint64(hierarchy)<<hierarchyShift }

func hierarchyOf(key uint64) uint32 { return uint32(key >> hierarchyShift) }

// Hierarchies returns the trees in which processes are told apart: the unified one where it is mounted, and that of the v1
// controller by which the kernel side tells, if there is one. The host's view is taken from proc, the folder in /proc of
// a process that has it.
func Hierarchies(proc string, v1 kernel.V1) (unified, other *Hierarchy, err error) {
	mountinfo, err := os.ReadFile(filepath.Join(proc, "mountinfo"))
	if err != nil {
		return nil, nil, fmt.Errorf("find the cgroup hierarchies: %w", err)
	}
	if mount, ok := findMount(string(mountinfo), ""); ok {
		unified = &Hierarchy{Mount: filepath.Join(proc, "root", mount)}
	}
	if v1.Hierarchy == 0 {
		return unified, nil, nil
	}
	other = &Hierarchy{ID: v1.Hierarchy, Controller: v1.Controller}
	if mount, ok := findMount(string(mountinfo), v1.Controller); ok {
		other.Mount = filepath.Join(proc, "root", mount)
	}
	return unified, other, nil
}

// findMount finds where the hierarchy of a v1 controller, or the unified one where that is "", is mounted in a mountinfo
// file (proc_pid_mountinfo(5)). A mount that shows a part of the tree only is no better than none, unless there is no other.
func findMount(mountinfo, controller string) (point string, ok bool) {
	for line := range strings.Lines(mountinfo) {
		before, after, cut := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		mount, rest := strings.Fields(before), strings.Fields(after)
		if !cut || len(mount) < 5 || len(rest) < 3 {
			continue
		}
		if controller == "" {
			if rest[0] != "cgroup2" {
				continue
			}
		} else if rest[0] != "cgroup" || !slices.Contains(strings.Split(rest[2], ","), controller) {
			continue
		}
		if !ok || mount[3] == "/" {
			point, ok = mount[4], true
		}
	}
	return point, ok
}

// path asks the kernel where the cgroup with this id is now: the file systems of cgroups take ids for file handles.
func (h *Hierarchy) path(id uint64) (string, error) {
	const kernfsHandle = 0xfe // FILEID_KERNFS, include/linux/exportfs.h
	mount, err := unix.Open(h.Mount, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("find cgroup %d: open %s: %w", id, h.Mount, err)
	}
	defer unix.Close(mount)
	handle := unix.NewFileHandle(kernfsHandle, binary.NativeEndian.AppendUint64(nil, id))
	fd, err := unix.OpenByHandleAt(mount, handle, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return "", fmt.Errorf("find cgroup %d: %w", id, err)
	}
	defer unix.Close(fd)
	return belowMount(mount, fd)
}

// below returns what of a path follows dir, which is not "/" but may be "": "" when it is dir itself.
func below(path, dir string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(path, dir)
	return rest, ok && (rest == "" || rest[0] == '/')
}

// belowMount returns the path of one open directory below another.
func belowMount(mount, fd int) (string, error) {
	top, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", mount))
	if err != nil {
		return "", fmt.Errorf("name a cgroup: %w", err)
	}
	full, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return "", fmt.Errorf("name a cgroup: %w", err)
	}
	rest, ok := below(full, top)
	if !ok {
		return "", fmt.Errorf("name a cgroup: %s is not below %s", full, top)
	}
	if rest == "" {
		rest = "/"
	}
	return rest, nil
}

// pathOf returns the path of a process's cgroup in the hierarchy (cgroups(7): lines of number, controllers and path).
func (h *Hierarchy) pathOf(tgid uint32) (string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", tgid))
	if err != nil {
		return "", fmt.Errorf("read the cgroup of process %d: %w", tgid, err)
	}
	path, ok := cgroupPath(string(b), h.Controller)
	if !ok {
		return "", fmt.Errorf("read the cgroup of process %d: it is in no cgroup of controller %q", tgid, h.Controller)
	}
	return path, nil
}

// cgroupPath finds the line of a controller, or of v2 where that is "", in a /proc/PID/cgroup file.
func cgroupPath(file, controller string) (string, bool) {
	for line := range strings.Lines(file) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 || !strings.HasPrefix(f[2], "/") {
			continue
		}
		if f[1] == controller || slices.Contains(strings.Split(f[1], ","), controller) {
			return f[2], true
		}
	}
	return "", false
}

// clockTick is the unit of times in /proc/PID/stat: USER_HZ, a hundredth of a second on every architecture that Go runs on.
const clockTick = 10_000_000

// oldest returns when the first of the processes in a cgroup began, in nanoseconds since boot; 0 when nobody is in it.
// Of many processes it asks some: those with the smallest numbers are most likely the first.
func oldest(dir string) uint64 {
	const ask = 16
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return 0
	}
	var tgids []uint64
	for line := range strings.Lines(string(b)) {
		if n, err := strconv.ParseUint(strings.TrimSpace(line), 10, 32); err == nil {
			tgids = append(tgids, n)
		}
	}
	slices.Sort(tgids)
	var first uint64
	for _, tgid := range tgids[:min(len(tgids), ask)] {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", tgid))
		if err != nil {
			continue
		}
		if at, ok := startOf(string(stat)); ok && (first == 0 || at < first) {
			first = at
		}
	}
	return first
}

// startOf reads field 22 of a /proc/PID/stat file (proc_pid_stat(5)). The second is the name in parentheses, which may
// hold anything.
func startOf(stat string) (uint64, bool) {
	i := strings.LastIndexByte(stat, ')')
	f := strings.Fields(stat[i+1:])
	if i < 0 || len(f) < 20 {
		return 0, false
	}
	n, err := strconv.ParseUint(f[19], 10, 64)
	if err != nil || n > 1<<63/clockTick {
		return 0, false
	}
	return n * clockTick, true
}
