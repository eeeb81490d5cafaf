/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What all sensors share: who did it, the head of each record, counted losses.
 *
 * Every struct here that user space reads is fixed-width, explicitly padded and asserted; bpf2go makes the Go types.
 */
#ifndef SPOOR_H
#define SPOOR_H

#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_endian.h>

#define ASSERT_SIZE(type, size) _Static_assert(sizeof(type) == (size), #type " must be " #size " bytes")

/* What a socket is in a conversation. */
enum {
	FLOW_OUTBOUND = 1,
	FLOW_INBOUND,
	FLOW_LISTEN,
};

/* include/linux/sched.h */
#define PF_WQ_WORKER 0x00000020
#define PF_KTHREAD 0x00200000

/*
 * One program run by one thread group. self_exec_id counts the execs since boot along the line of parents, so it tells
 * the images of one tgid apart, and it can be read again after the agent restarted.
 */
struct who {
	__u64 start_boottime; /* ns since boot, of the thread group leader */
	__u32 tgid; /* in the initial pid namespace */
	__u32 exec_count; /* low half of task_struct.self_exec_id */
};
ASSERT_SIZE(struct who, 16);

static __always_inline void who_is(struct task_struct *task, struct who *who)
{
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);

	who->start_boottime = BPF_CORE_READ(leader, start_boottime);
	who->tgid = BPF_CORE_READ(task, tgid);
	who->exec_count = (__u32)BPF_CORE_READ(task, self_exec_id);
}

/* The same of a task that the verifier knows: plain loads. */
static __always_inline void known_is(struct task_struct *task, struct who *who)
{
	who->start_boottime = task->group_leader->start_boottime;
	who->tgid = task->tgid;
	who->exec_count = (__u32)task->self_exec_id;
}

/*
 * The v1 controller that tells cgroups apart where the unified hierarchy does not: its index in css_set.subsys and the
 * number of its hierarchy. 0 where no v1 hierarchy is mounted; then the code below is gone. Set by the agent.
 */
const volatile __u32 v1_subsys;
const volatile __u32 v1_hierarchy;

/* Ids are counted in each hierarchy for itself: those of v1 carry its number in the upper byte, which no count reaches. */
#define V1_SHIFT 56

/* The cgroup of a task in the unified hierarchy, or in a v1 one if it is in the root of that. */
static __always_inline __u64 cgroup_of(struct task_struct *task)
{
	struct css_set *set = BPF_CORE_READ(task, cgroups);
	struct cgroup *unified = BPF_CORE_READ(set, dfl_cgrp), *v1;
	struct cgroup_subsys_state *css = NULL;
	__u64 id = BPF_CORE_READ(unified, kn, id);

	if (!v1_hierarchy || BPF_CORE_READ(unified, level))
		return id;
	bpf_probe_read_kernel(&css, sizeof(css),
			      (void *)set + bpf_core_field_offset(struct css_set, subsys) + v1_subsys * sizeof(css));
	v1 = BPF_CORE_READ(css, cgroup);
	if (!v1 || !BPF_CORE_READ(v1, level)) /* in no cgroup of either */
		return id;
	return BPF_CORE_READ(v1, kn, id) | (__u64)v1_hierarchy << V1_SHIFT;
}

/*
 * Losses by reason, one map a sensor: per CPU, so that counting costs an increment; read and summed by the agent.
 * Nobody deletes from it and it cannot be full.
 */
#define LOSS_MAP(entries)                                \
	struct {                                         \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); \
		__uint(max_entries, entries);            \
		__type(key, __u32);                      \
		__type(value, __u64);                    \
	} losses SEC(".maps")

static __always_inline void count_loss(void *losses, __u32 reason)
{
	__u64 *n = bpf_map_lookup_elem(losses, &reason);

	if (n) /* the verifier cannot know that reason is in range */
		*n += 1;
}

#endif
