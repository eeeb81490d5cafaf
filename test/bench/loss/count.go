// SPDX-License-Identifier: Apache-2.0

package main

import spoorv1 "github.com/spoor/spoor/api/spoor/v1"

// countFiles counts each inode once, of the files that the generator made.
func countFiles() func(*spoorv1.Event) int {
	type inode struct{ number, generation uint64 }
	seen := map[inode]bool{}
	return func(ev *spoorv1.Event) int {
		f := ev.GetFileWrite().GetFile()
		k := inode{f.GetInode(), uint64(f.GetGeneration())}
		if f == nil || seen[k] {
			return 0
		}
		seen[k] = true
		return 1
	}
}

func countOpened(ev *spoorv1.Event) int { return int(ev.GetFlow().GetOpened()) }

func countExecs(ev *spoorv1.Event) int {
	if ev.GetProcessStart().GetCause() == spoorv1.ProcessStart_CAUSE_EXEC && ev.GetProcess().GetComm() == "true" {
		return 1
	}
	return 0
}
