/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What kernels before 5.11 lack, asked of the running kernel when the programs are loaded: the verifier leaves the branch
 * that is not taken unread.
 */
#ifndef SPOOR_COMPAT_H
#define SPOOR_COMPAT_H

#include "spoor.h"

/* The two numbers that tell a task's image apart on a hot path: plain loads since 5.11 (3ca1032ab7ab). */
static __always_inline void current_image(__u32 *tgid, __u32 *exec_count, __u32 *flags)
{
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf)) {
		struct task_struct *task = bpf_get_current_task_btf();

		*tgid = task->tgid;
		*exec_count = task->self_exec_id;
		*flags = task->flags;
	} else {
		struct task_struct *task = (void *)bpf_get_current_task();

		*tgid = BPF_CORE_READ(task, tgid);
		*exec_count = BPF_CORE_READ(task, self_exec_id);
		*flags = BPF_CORE_READ(task, flags);
	}
}

/* The cgroup of whoever runs now, likewise. */
static __always_inline __u64 current_cgroup(void)
{
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf)) {
		struct task_struct *task = bpf_get_current_task_btf();

		return v1_hierarchy ? cgroup_of(task) : task->cgroups->dfl_cgrp->kn->id;
	}
	return cgroup_of((void *)bpf_get_current_task());
}

/* Number of the mount namespace of whoever runs now, likewise. */
static __always_inline __u32 current_mnt_ns(void)
{
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf))
		return bpf_get_current_task_btf()->nsproxy->mnt_ns->ns.inum;
	return BPF_CORE_READ((struct task_struct *)bpf_get_current_task(), nsproxy, mnt_ns, ns.inum);
}

/* Who runs now, and in which cgroup, likewise. */
static __always_inline void current_who(struct who *who, __u64 *cgroup_id)
{
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf)) {
		known_is(bpf_get_current_task_btf(), who);
	} else {
		who_is((void *)bpf_get_current_task(), who);
	}
	*cgroup_id = current_cgroup();
}

/* Since 6.14 (0de20c27aecd): the address is 0 on other kernels. */
extern void bpf_local_irq_save(unsigned long *flags) __weak __ksym;
extern void bpf_local_irq_restore(unsigned long *flags) __weak __ksym;

#endif
