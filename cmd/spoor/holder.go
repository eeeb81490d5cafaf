// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spoor/spoor/cmd/spoor/internal/render"
)

// portHolder names the process that listens on the port of address, as far as /proc lets us see; else "".
func portHolder(address string) string {
	_, portText, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return ""
	}
	inodes := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		listeners(table, uint16(port), inodes)
	}
	if len(inodes) == 0 {
		return ""
	}
	descriptors, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return ""
	}
	for _, fd := range descriptors {
		target, err := os.Readlink(fd)
		if err != nil || !inodes[strings.TrimSuffix(strings.TrimPrefix(target, "socket:["), "]")] {
			continue
		}
		pid := strings.Split(fd, "/")[2]
		comm, err := os.ReadFile("/proc/" + pid + "/comm")
		if err != nil {
			continue
		}
		return fmt.Sprintf("%s (process %s)", render.Printable(strings.TrimSuffix(string(comm), "\n")), pid)
	}
	return ""
}

// listeners collects the inodes of listening sockets on port from a table like /proc/net/tcp (proc(5)).
func listeners(table string, port uint16, inodes map[string]bool) {
	file, err := os.Open(table)
	if err != nil {
		return
	}
	defer file.Close()
	const localAddress, state, inode, listen = 1, 3, 9, "0A"
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) <= inode || fields[state] != listen {
			continue
		}
		_, hexPort, _ := strings.Cut(fields[localAddress], ":")
		if raw, err := hex.DecodeString(hexPort); err == nil && len(raw) == 2 && binary.BigEndian.Uint16(raw) == port {
			inodes[fields[inode]] = true
		}
	}
}
