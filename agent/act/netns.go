// SPDX-License-Identifier: Apache-2.0

package act

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func loopback() (netlink.Link, error) {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return nil, fmt.Errorf("find loopback device: %w", err)
	}
	return lo, nil
}

// furnishNetns makes an empty network namespace fit for the acts: its loopback device is up.
func furnishNetns() error {
	lo, err := loopback()
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set loopback device up: %w", err)
	}
	return nil
}

// blackhole makes addresses in this (own) namespace at which nobody ever answers, and returns one. They are routed to the loopback
// device with a source that is not a loopback address; what comes back in there for a foreign address is dropped without a
// word. 192.0.2.0/24 and 198.51.100.0/24 are set aside for documentation (RFC 5737).
func blackhole() (netip.Addr, error) {
	lo, err := loopback()
	if err != nil {
		return netip.Addr{}, err
	}
	source := &net.IPNet{IP: net.IPv4(198, 51, 100, 1), Mask: net.CIDRMask(32, 32)}
	if err := netlink.AddrAdd(lo, &netlink.Addr{IPNet: source}); err != nil {
		return netip.Addr{}, fmt.Errorf("add address: %w", err)
	}
	nowhere := &net.IPNet{IP: net.IPv4(192, 0, 2, 0), Mask: net.CIDRMask(24, 32)}
	if err := netlink.RouteAdd(&netlink.Route{
		LinkIndex: lo.Attrs().Index, Dst: nowhere, Src: source.IP, Scope: netlink.SCOPE_LINK,
	}); err != nil {
		return netip.Addr{}, fmt.Errorf("add route: %w", err)
	}
	return netip.AddrFrom4([4]byte{192, 0, 2, 1}), nil
}

// setSysctl sets a sysctl of this (own) network namespace; a kernel that does not have it is fine.
func setSysctl(name, value string) error {
	err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("set sysctl: %w", err)
	}
	return nil
}

// enterNetns moves this thread, and the sockets that it makes from now on, to the network namespace of a process.
func enterNetns(pid int) error {
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open network namespace of %d: %w", pid, err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace of %d: %w", pid, err)
	}
	return nil
}

// netns is the inode number of this thread's network namespace.
func netns() (uint32, error) {
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		return 0, fmt.Errorf("stat network namespace: %w", err)
	}
	return uint32(st.Ino), nil
}
