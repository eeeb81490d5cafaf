//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Processes: who runs, started by whom, with which arguments, and how it ended.
 *
 *   sched_process_fork   a new thread group (threads of an existing one are ignored)
 *   sched_process_exec   its program, arguments and working directory
 *   sched_process_exit   the last thread of the group ended
 *   cgroup_mkdir         path of a new cgroup, before anything runs in it
 *   iter/task            everything that ran already when the agent came
 *
 * Records go through a ring without waking the reader, which looks a few times a second; it is woken early only when
 * the ring fills, and for a new cgroup: a container that ends at once is forgotten by its runtime as soon, so its name
 * must be asked for before it begins. A record that does not fit is counted, and the reader then walks all tasks again.
 */
#include "spoor.h"
#include "path.h"
#include "turn.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

enum {
	PROCESS_LOST_RING, /* process_ring was full */
	PROCESS_LOST_CGROUP, /* process_ring was full, of a cgroup's path */
	PROCESS_LOSSES,
};

LOSS_MAP(PROCESS_LOSSES);

/*
 * Records to the agent, which alone consumes them. When it is full the record is lost and counted by its reason. The
 * agent sets the size; this is the default.
 */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} process_ring SEC(".maps");

enum {
	PROCESS_FORK = 1,
	PROCESS_EXEC,
	PROCESS_EXIT,
	PROCESS_FOUND, /* by the iterator */
	PROCESS_CGROUP,
};

#define ARGS_BYTES 4096 /* at most TEXT_SLACK */

/* Flags of a process_record */
#define PROCESS_EXE_CUT (1 << 0)
#define PROCESS_CWD_CUT (1 << 1)
#define PROCESS_ARGS_CUT (1 << 2)
#define PROCESS_KTHREAD (1 << 3)
#define PROCESS_EXE_UNLINKED (1 << 4)

/* What begins every record but a cgroup's; exec and found carry text behind it: exe, cwd, args. */
struct process_record {
	__u64 time; /* ns since boot */
	__u16 type;
	__u16 flags;
	__u32 exit_code; /* as wait(2) has it */
	struct who who;
	struct who parent; /* the image that forked it; of an exec: the image that it replaced is who.exec_count - 1 */
	__u64 cgroup_id;
	__u64 cap_effective;
	__u32 uid;
	__u32 gid;
	__u32 pid_ns;
	__u32 mnt_ns;
	__u32 net_ns;
	__u16 exe_bytes; /* components, leaf first, each with a NUL */
	__u16 cwd_bytes; /* likewise */
	__u32 args_bytes; /* as in /proc/PID/cmdline */
	__u32 reserved;
	char comm[16];
};
ASSERT_SIZE(struct process_record, 112);

struct cgroup_record {
	__u64 time;
	__u16 type;
	__u16 path_bytes;
	__u32 hierarchy_id; /* 0 is the v2 hierarchy */
	__u64 cgroup_id;
};
ASSERT_SIZE(struct cgroup_record, 24);

/* Where a record is put together: too large for the stack. One a CPU, never full. */
struct process_scratch {
	struct process_record record;
	struct text text; /* its two first words are filler in what user space gets */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct process_scratch);
} scratch SEC(".maps");

/* Wakes the reader only when the ring is a quarter full. */
static __always_inline __u64 wakeup(void)
{
	return bpf_ringbuf_query(&process_ring, BPF_RB_AVAIL_DATA) > (1 << 20) ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

static __always_inline struct process_scratch *get_scratch(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&scratch, &zero);
}

/* The task is one that the verifier knows, so that its fields are plain loads; those of a NULL leave zeros. */
static __always_inline void fill(struct process_record *r, struct task_struct *task, __u16 type)
{
	const struct cred *cred = task->cred;
	struct nsproxy *ns = task->nsproxy;
	struct task_struct *parent = task->real_parent;

	r->time = bpf_ktime_get_boot_ns();
	r->type = type;
	r->flags = task->flags & PF_KTHREAD ? PROCESS_KTHREAD : 0;
	r->exit_code = 0;
	r->reserved = 0;
	known_is(task, &r->who);
	known_is(parent, &r->parent);
	r->cgroup_id = v1_hierarchy ? cgroup_of(task) : task->cgroups->dfl_cgrp->kn->id;
	r->cap_effective = cred->cap_effective.val;
	r->uid = cred->uid.val;
	r->gid = cred->gid.val;
	/* An exiting task may have given its namespaces back. */
	r->pid_ns = ns->pid_ns_for_children->ns.inum;
	r->mnt_ns = ns->mnt_ns->ns.inum;
	r->net_ns = ns->net_ns->ns.inum;
	r->exe_bytes = 0;
	r->cwd_bytes = 0;
	r->args_bytes = 0;
	BPF_CORE_READ_STR_INTO(&r->comm, task, comm);
}

static __always_inline void send(struct process_record *r, __u32 bytes)
{
	if (bpf_ringbuf_output(&process_ring, r, bytes, wakeup()))
		count_loss(&losses, PROCESS_LOST_RING);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(process_fork, struct task_struct *parent, struct task_struct *child)
{
	struct process_record r;

	if (child->pid != child->tgid || !my_turn())
		return 0;
	fill(&r, child, PROCESS_FORK);
	known_is(parent, &r.parent);
	send(&r, sizeof(r));
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(process_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	struct process_scratch *s = get_scratch();
	struct dentry *dentry;
	struct vfsmount *mnt;
	unsigned long start;
	__u32 used, args;

	if (!s || !my_turn()) /* no scratch cannot be: an array of one */
		return 0;
	fill(&s->record, task, PROCESS_EXEC);

	s->text.used = 0;

	dentry = bprm->file->f_path.dentry;
	mnt = bprm->file->f_path.mnt;
	if (!append_path(&s->text, dentry, mnt))
		s->record.flags |= PROCESS_EXE_CUT;
	s->record.exe_bytes = s->text.used;
	if (!dentry->d_hash.pprev) /* d_unlinked(), include/linux/dcache.h */
		s->record.flags |= PROCESS_EXE_UNLINKED;

	dentry = task->fs->pwd.dentry;
	mnt = task->fs->pwd.mnt;
	if (!append_path(&s->text, dentry, mnt))
		s->record.flags |= PROCESS_CWD_CUT;
	used = s->text.used;
	s->record.cwd_bytes = used - s->record.exe_bytes;

	start = task->mm->arg_start;
	args = task->mm->arg_end - start;
	if (args > ARGS_BYTES) {
		args = ARGS_BYTES;
		s->record.flags |= PROCESS_ARGS_CUT;
	}
	if (used > TEXT_BYTES) /* cannot be: two paths; says so to the verifier */
		return 0;
	if (args && bpf_probe_read_user(s->text.bytes + used, args, (void *)start)) {
		s->record.flags |= PROCESS_ARGS_CUT; /* not resident: reported as cut at zero */
		args = 0;
	}
	s->record.args_bytes = args;
	used += args;
	send(&s->record, offsetof(struct process_scratch, text.bytes) + used);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exit, struct task_struct *task)
{
	struct process_record r;

	/* do_exit() counts a thread out before the tracepoint: the last one of the group sees zero. */
	if (task->signal->live.counter != 0 || !my_turn())
		return 0;
	fill(&r, task, PROCESS_EXIT);
	/* The code that wait(2) reports: the group's, if exit_group(2) or a fatal signal set one. */
	r.exit_code = task->signal->group_exit_code;
	if (!r.exit_code)
		r.exit_code = task->exit_code;
	send(&r, sizeof(r));
	return 0;
}

struct cgroup_scratch {
	struct cgroup_record record;
	char path[PATH_BYTES];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cgroup_scratch);
} cgroup_scratch SEC(".maps");

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(process_cgroup_mkdir, struct cgroup *cgrp, const char *path)
{
	__u32 zero = 0;
	struct cgroup_scratch *s = bpf_map_lookup_elem(&cgroup_scratch, &zero);
	long n;

	if (!s || !my_turn()) /* no scratch cannot be: an array of one */
		return 0;
	s->record.time = bpf_ktime_get_boot_ns();
	s->record.type = PROCESS_CGROUP;
	s->record.hierarchy_id = BPF_CORE_READ(cgrp, root, hierarchy_id);
	s->record.cgroup_id = BPF_CORE_READ(cgrp, kn, id);
	n = bpf_probe_read_kernel_str(s->path, sizeof(s->path), path);
	if (n < 0)
		n = 0;
	if (n > PATH_BYTES)
		return 0;
	s->record.path_bytes = n;
	if (bpf_ringbuf_output(&process_ring, s, sizeof(s->record) + n, BPF_RB_FORCE_WAKEUP))
		count_loss(&losses, PROCESS_LOST_CGROUP);
	return 0;
}

SEC("iter/task")
int process_found(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct process_record r;

	if (!task || task->pid != task->tgid)
		return 0;
	/* It has its next number perhaps, and sched_process_exec will tell of that. Should it fail, its next fact makes it known. */
	if (BPF_CORE_READ_BITFIELD_PROBED(task, in_execve))
		return 0;
	fill(&r, task, PROCESS_FOUND);
	r.time = r.who.start_boottime;
	bpf_seq_write(ctx->meta->seq, &r, sizeof(r));
	return 0;
}
