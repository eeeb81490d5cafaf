// SPDX-License-Identifier: Apache-2.0

package act

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// Group is the part of the kernel's state that an act changes.
type Group string

// The groups, in the order in which people read them.
const (
	GroupFile    Group = "file"
	GroupMemory  Group = "memory"
	GroupNetwork Group = "network"
	GroupProcess Group = "process"
)

// Act is one operation that an agent must see, or, where Result.Forbidden says so, must not mistake for another.
type Act struct {
	// Name is unique among all acts and stable: lower-case words joined by '-'.
	Name  string
	Group Group
	// Summary says in one line what is done.
	Summary string

	// Lasting: it is about what goes on and not about how it ends.
	Lasting bool
	// Joins: it joins two processes, of the roles actor and server, other or child. What two of one workload share is their
	// own business.
	Joins bool

	needs []need
	// ownNetns: the act changes its network and never runs in the caller's.
	ownNetns bool
	// run is the part of the process that Do starts.
	run func(*stage) error
	// roles are the parts of the processes that run starts in turn, by role.
	roles map[string]func(*stage) error
}

// Netns says in which network namespace an act runs.
type Netns int

const (
	// NetnsCurrent is the caller's; only its loopback device is used.
	NetnsCurrent Netns = iota
	// NetnsOwn is a new one with nothing but a loopback device, which ends with the act.
	NetnsOwn
)

// Env is where an act is done.
type Env struct {
	// Dir exists and lies on the file system that is looked at; it must be absolute. The act makes a directory of its own in it, and leaves
	// that to be inspected and removed by the caller.
	Dir   string
	Netns Netns
	// Cgroups gives, by role, the directory of a cgroup that a process enters before it does anything; the role of the
	// process that Do starts is "actor".
	Cgroups map[string]string
	// Hold, when set, is called when everything has happened and all processes are still there with their files, mappings and
	// connections open. They end when it returns. The result must not be kept or changed.
	Hold func(context.Context, *Result) error
}

// Unsupported says why an act cannot be done here. It is not a failure of anything.
type Unsupported struct {
	Act string
	// Reason names what is missing and who lacks it, for example "reflink not supported by ext4".
	Reason string
}

func (u *Unsupported) Error() string {
	return fmt.Sprintf("act %s cannot be done here: %s", u.Act, u.Reason)
}

// All returns every act, group by group.
func All() []*Act {
	return slices.Concat(
		fileWriteActs(), fileCopyActs(), fileMapActs(), fileSizeActs(), fileAsyncActs(), fileUringActs(),
		fileNameActs(), fileAttributeActs(), fileWriterActs(), fileOddNameActs(), fileQuietActs(),
		fileProgramActs(), fileServiceActs(),
		memoryActs(),
		tcpActs(), tcpFailureActs(), natActs(), udpActs(), unixActs(), otherSocketActs(),
		execActs(), exitActs(), namespaceActs(),
	)
}

// Find returns the act of a name, or nil.
func Find(name string) *Act {
	for _, a := range All() {
		if a.Name == name {
			return a
		}
	}
	return nil
}

// Probe says whether the act can be done in env: nil, an [*Unsupported], or an error of the probing itself. It leaves nothing behind.
func (a *Act) Probe(env Env) error {
	if err := env.check(); err != nil {
		return fmt.Errorf("probe act %s: %w", a.Name, err)
	}
	needs := a.needs
	if a.ownNetns || env.Netns == NetnsOwn {
		needs = append(slices.Clone(needs), needNetns)
	}
	for _, n := range needs {
		reason, err := n(env.Dir)
		if err != nil {
			return fmt.Errorf("probe act %s: %w", a.Name, err)
		}
		if reason != "" {
			return &Unsupported{Act: a.Name, Reason: reason}
		}
	}
	return nil
}

// Do probes, commits the act and returns when all of its processes have ended. When ctx ends first they are killed.
func (a *Act) Do(ctx context.Context, env Env) (*Result, error) {
	if err := a.Probe(env); err != nil {
		return nil, err
	}
	result, err := a.do(ctx, env)
	if err != nil {
		return nil, fmt.Errorf("act %s: %w", a.Name, err)
	}
	return result, nil
}

func (a *Act) do(ctx context.Context, env Env) (_ *Result, err error) {
	dir, err := os.MkdirTemp(env.Dir, a.Name+"-")
	if err != nil {
		return nil, err
	}
	// Roles other than root's must be able to work in it.
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	result := &Result{Act: a.Name, Dir: dir, Start: time.Now()}
	own := a.ownNetns || env.Netns == NetnsOwn
	p, err := startProcess(ctx, startOptions{act: a.Name, role: roleActor, ownNetns: own})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.end()) }()
	result.Tgid = p.pid()
	if err := p.send(message{Config: &config{Dir: dir, Cgroups: env.Cgroups, NewNetns: own}}); err != nil {
		return nil, err
	}
	done, err := p.hear()
	if err != nil {
		return nil, err
	}
	result.Facts, result.Forbidden, result.End = done.Facts, done.Forbidden, time.Now()
	if env.Hold != nil {
		if err := env.Hold(ctx, result); err != nil {
			return nil, fmt.Errorf("hold: %w", err)
		}
	}
	return result, nil
}
