// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const hybridMounts = `31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
33 31 0:36 /part /mnt/pids rw,relatime - cgroup cgroup rw,pids
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 /../.. /mnt/own rw,relatime - cgroup2 cgroup2 rw
42 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
garbage
`

func TestFindMount(t *testing.T) {
	for controller, want := range map[string]string{
		"": "/sys/fs/cgroup/unified", "pids": "/sys/fs/cgroup/pids", "cpuacct": "/sys/fs/cgroup/cpu,cpuacct", "memory": "",
	} {
		if got, ok := findMount(hybridMounts, controller); got != want || ok != (want != "") {
			t.Errorf("controller %q is mounted at %q, want %q", controller, got, want)
		}
	}
	if got, _ := findMount("41 31 0:38 /../.. /mnt/own rw - cgroup2 cgroup2 rw\n", ""); got != "/mnt/own" {
		t.Errorf("the only mount there is was not taken, but %q", got)
	}
}

func TestCgroupPath(t *testing.T) {
	const file = "9:name=systemd:/a:b\n3:cpu,cpuacct:/docker/x\n1:pids:\n0::/system.slice/x.service\n"
	for controller, want := range map[string]string{"": "/system.slice/x.service", "cpu": "/docker/x", "cpuacct": "/docker/x", "name=systemd": "/a:b", "pids": ""} {
		if got, ok := cgroupPath(file, controller); got != want || ok != (want != "") {
			t.Errorf("path for %q is %q, want %q", controller, got, want)
		}
	}
}

func TestStartOf(t *testing.T) {
	const rest = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20"
	for stat, want := range map[string]uint64{
		"7 (sh)" + rest: 42_420_000_000, "7 (a) 1 (b)" + rest: 42_420_000_000, "7 (sh) S 1": 0, "": 0,
		"7 (sh) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 99999999999999999999": 0,
	} {
		if got, ok := startOf(stat); got != want || ok != (want != 0) {
			t.Errorf("startOf(%q) = %d, %v; want %d", stat, got, ok, want)
		}
	}
}

func TestOldestProcess(t *testing.T) {
	dir := t.TempDir()
	write := func(s string) {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(fmt.Sprintf("%d\n0\nx\n", os.Getpid()))
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		t.Fatal(err)
	}
	age := time.Duration(uint64(up.Nano()) - oldest(dir))
	if age < 0 || age > time.Hour {
		t.Errorf("this process is %s old", age)
	}
	write("")
	if got := oldest(dir); got != 0 {
		t.Errorf("nobody began at %d", got)
	}
}

func FuzzCgroupPath(f *testing.F) {
	f.Add("0::/x\n1:cpu:/y\n", "cpu")
	f.Fuzz(func(t *testing.T, file, controller string) {
		if path, ok := cgroupPath(file, controller); ok && path[0] != '/' {
			t.Errorf("path %q is not absolute", path)
		}
	})
}

func FuzzFindMount(f *testing.F) {
	f.Add(hybridMounts, "pids")
	f.Fuzz(func(_ *testing.T, mountinfo, controller string) { findMount(mountinfo, controller) })
}

func FuzzStartOf(f *testing.F) {
	f.Add("7 (a) 1 (b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20")
	f.Fuzz(func(t *testing.T, stat string) {
		if n, ok := startOf(stat); ok && n%clockTick != 0 {
			t.Errorf("a time of %d ns", n)
		}
	})
}
