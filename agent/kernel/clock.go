// SPDX-License-Identifier: Apache-2.0

// Package kernel says what the running kernel is and can do: its boot id and clock, whether programs can be loaded.
//
// It knows nothing of sensors or events.
package kernel

import (
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Clock turns the kernel's time since boot into wall-clock time.
type Clock struct {
	// Nanoseconds to add to CLOCK_BOOTTIME to get Unix time.
	offset atomic.Int64
}

// NewClock returns a clock that is set.
func NewClock() (*Clock, error) {
	c := &Clock{}
	return c, c.Sync()
}

// Sync measures again how far wall-clock time is from the time since boot: it moves when the clock is set or suspended.
func (c *Clock) Sync() error {
	// The wall clock is read between two readings of the other; the narrowest of a few tries wins.
	best := int64(-1)
	for range 3 {
		var before, wall, after unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &before); err != nil {
			return fmt.Errorf("read CLOCK_BOOTTIME: %w", err)
		}
		if err := unix.ClockGettime(unix.CLOCK_REALTIME, &wall); err != nil {
			return fmt.Errorf("read CLOCK_REALTIME: %w", err)
		}
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &after); err != nil {
			return fmt.Errorf("read CLOCK_BOOTTIME: %w", err)
		}
		width := after.Nano() - before.Nano()
		if best < 0 || width < best {
			best = width
			c.offset.Store(wall.Nano() - before.Nano() - width/2)
		}
	}
	return nil
}

// Time converts ns, nanoseconds since boot as bpf_ktime_get_boot_ns returns them.
func (c *Clock) Time(ns uint64) time.Time {
	return time.Unix(0, int64(ns)+c.offset.Load()).UTC() //nolint:gosec // 292 years of uptime fit
}

// BootID returns the id that the kernel made for this boot (random(4)).
func BootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// Release returns the kernel's release and the machine's architecture, as uname(2) has them.
func Release() (release, machine string) {
	var u unix.Utsname
	if unix.Uname(&u) != nil { // cannot fail with a valid pointer
		return "unknown", "unknown"
	}
	return unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Machine[:])
}
