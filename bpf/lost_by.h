/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Whose it was that found no room, for the one reason of a sensor that loses facts.
 */
#ifndef SPOOR_LOST_BY_H
#define SPOOR_LOST_BY_H

#include "spoor.h"

/* The agent empties it when it reads losses; what finds it full is in the sum all the same. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64); /* id of a cgroup */
	__type(value, __u64);
} lost_by SEC(".maps");

/* Counts a loss, and as that of a cgroup. */
static __always_inline void lose(void *losses, __u32 reason, __u64 cgroup_id)
{
	__u64 *n = bpf_map_lookup_elem(&lost_by, &cgroup_id), one = 1;

	count_loss(losses, reason);
	if (n)
		__sync_fetch_and_add(n, 1);
	else /* full, or another CPU was first: the sum has it */
		bpf_map_update_elem(&lost_by, &cgroup_id, &one, BPF_NOEXIST);
}

#endif
