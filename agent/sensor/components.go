// SPDX-License-Identifier: Apache-2.0

package sensor

import "bytes"

// joinComponents makes a path of what append_path in bpf/path.h wrote: components, leaf first, each with its NUL.
// An empty input is the root. The result has the kernel's bytes, which need not be UTF-8.
func joinComponents(b []byte) string {
	if len(b) == 0 {
		return "/"
	}
	path := make([]byte, 0, len(b)+1)
	b = bytes.TrimSuffix(b, []byte{0})
	for {
		i := bytes.LastIndexByte(b, 0)
		path = append(path, '/')
		path = append(path, b[i+1:]...)
		if i < 0 {
			return string(path)
		}
		b = b[:i]
	}
}

// splitArgs splits the argument area of a process as /proc/PID/cmdline has it.
func splitArgs(b []byte) []string {
	b = bytes.TrimSuffix(b, []byte{0})
	if len(b) == 0 {
		return nil
	}
	parts := bytes.Split(b, []byte{0})
	args := make([]string, len(parts))
	for i, p := range parts {
		args[i] = string(p)
	}
	return args
}
