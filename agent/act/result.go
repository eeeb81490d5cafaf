// SPDX-License-Identifier: Apache-2.0

package act

import (
	"net/netip"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// Result is what happened when an act was done.
type Result struct {
	// Act is the name of the act.
	Act string
	// Dir is the directory that was made for this run below Env.Dir. The caller removes it.
	Dir string
	// Tgid is the process that was started for the act, in the pid namespace of the caller; the act's other processes are its descendants.
	Tgid int
	// Start and End enclose everything that Facts tells.
	Start, End time.Time
	// Facts happened. The ones with Setup only prepared the act.
	Facts []Expectation
	// Forbidden did not happen: an event that says so is wrong.
	Forbidden []Expectation
}

// Kind is the kind of an event, as in the API's Event.kind.
type Kind string

// The kinds that acts cause.
const (
	ProcessStart Kind = "process_start"
	ProcessExit  Kind = "process_exit"
	FileWrite    Kind = "file_write"
	FileChange   Kind = "file_change"
	Connection   Kind = "flow"
	Listening    Kind = "listen"
	Sharing      Kind = "share"
)

// Expectation is one fact as an event must tell it. Fields that say nothing about the kind are nil.
type Expectation struct {
	Kind Kind
	// Role is what the process was in the act, for messages: actor, writer, server, setup, ...
	Role string
	// Tgid is the process that did it, in the pid namespace of the act.
	Tgid int
	// Comm, when set, is the name of the program, of which any process may have done it: which of them is its own business.
	Comm string
	// Setup marks what happened in preparation: it may be reported, but the act is not about it.
	Setup bool

	// File of file_write and file_change.
	File *File
	// Operation of file_change.
	Operation spoorv1.FileChange_Operation
	// TargetPath of file_change: the new name of a rename or link.
	TargetPath string

	Flow    *Flow
	Listen  *Listen
	Process *Process
	Share   *Share
}

// File is one file as it was after the act (or before it was removed).
type File struct {
	// Path is absolute and as the acting process saw it; any bytes but NUL.
	Path string
	// Renamed says that it had another name, in the same directory, while it was written: an event that was told before the
	// rename has that.
	Renamed bool
	// Dev is the device number of the file system (not stat's st_dev, which differs on btrfs), major << 20 | minor.
	Dev uint32
	// Inode is its number as the file system itself keeps it.
	Inode uint64
	// Generation is the file system's own (FS_IOC_GETVERSION); not every file system tells it.
	Generation uint32
	// HasGeneration says that Generation is known.
	HasGeneration bool
	// FSType is the name of the file system type, for example ext4.
	FSType string
	// Size in bytes before and after the act.
	SizeBefore, Size int64
	// Unlinked says that no name was left when the act ended.
	Unlinked bool
	// Upper is the file of an overlay's upper layer that holds the content; nil on other file systems.
	Upper *File
}

// Physical is the file that the kernel changes: the upper one on an overlay, else f itself.
func (f *File) Physical() *File {
	if f.Upper != nil {
		return f.Upper
	}
	return f
}

// Flow is one process's end of a conversation.
type Flow struct {
	Transport spoorv1.Transport
	Direction spoorv1.Direction
	// Local and Peer are the addresses as this process's socket had them; IPv4-mapped ones are unmapped.
	Local, Peer netip.AddrPort
	// Opened, Closed, Refused and TimedOut count connections.
	Opened, Closed, Refused, TimedOut int
	// Sent and Received are payload bytes.
	Sent, Received int64
	// Netns is the inode number of the network namespace.
	Netns uint32
}

// Listen is a port on which a process accepts connections or datagrams.
type Listen struct {
	Transport spoorv1.Transport
	Local     netip.AddrPort
	// Socket is the name of a Unix socket; an abstract one starts with @.
	Socket string
	Netns  uint32
}

// Process is what was executed and how it ended.
type Process struct {
	Cause spoorv1.ProcessStart_Cause
	// ParentTgid is the process that started it.
	ParentTgid int
	// Exe is the path of the executable as the kernel resolved it.
	Exe string
	// Args are complete, however long.
	Args []string
	// Cwd is the working directory at the exec.
	Cwd string
	// ExitCode and Signal are those of process_exit.
	ExitCode, Signal int
}

// Share is something that two processes have in common.
type Share struct {
	Kind spoorv1.Share_Kind
	// OtherTgid is the process at the other side.
	OtherTgid int
	// What is the mechanism: sysv, posix, memfd, anonymous or unix.
	What string
	// Object is the memory object or socket file, where it has an inode that the process can see.
	Object *File
	// Bytes is the size of the shared memory.
	Bytes int64
	// Socket is the name of a Unix socket; an abstract one starts with @.
	Socket string
}
