/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What the sensors of the network share: one fact for all that goes on between a process and a peer.
 */
#ifndef SPOOR_FLOW_H
#define SPOOR_FLOW_H

#include "spoor.h"

#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_MPTCP 262

struct flow_key {
	struct who who;
	__u8 peer[16]; /* IPv6, or IPv4-mapped; of a listener: the address it is bound to */
	__u32 net_ns;
	__u16 port; /* the listener's, in host order */
	__u8 role; /* FLOW_* */
	__u8 protocol; /* IPPROTO_* */
};
ASSERT_SIZE(struct flow_key, 40);

#define FLOW_SAMPLE 8

struct flow_fact {
	__u64 first; /* ns since boot */
	__u64 last;
	__u64 cgroup_id;
	__u64 sent; /* payload bytes */
	__u64 received;
	__u32 opened; /* of UDP: sockets that began to talk with the peer */
	__u32 closed;
	__u32 refused;
	__u32 timed_out;
	__u8 local[16]; /* address of this end, of the latest connection */
	/*
	 * Ports of clients, by which the two ends of a connection are joined. Of the ports that hash to a slot the one with
	 * the smallest hash stays (hash << 16 | port, all ones when empty), so that both ends keep the same.
	 */
	__u32 sample[FLOW_SAMPLE];
};
ASSERT_SIZE(struct flow_fact, 104);

/* As in file.bpf.c: swapped by the agent when it reads. A fact that finds no room is counted by the sensor. */
struct flow_facts {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct flow_key);
	__type(value, struct flow_fact);
};

/* One for all sensors of the network: the agent gives the first one's to the others. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct flow_facts);
} facts SEC(".maps");

/* A map inside a map leaves its types out of the BTF that bpf2go reads, unless something else names them. */
const struct flow_key *unused_flow_key __attribute__((unused));
const struct flow_fact *unused_flow_fact __attribute__((unused));

/*
 * When a fact was last touched, ns since boot: lets the agent leave idle maps alone. A plain store, since any other value
 * than the one that the agent read says all there is to say, and CPUs need not take turns for it.
 */
volatile __u64 touched;

/* This end of a connection. */
struct end {
	__u64 cgroup_id;
	__u8 local[16];
	__u16 client; /* port of whoever called; 0 when not known */
	__u16 reserved[3];
};

/* What one observation adds to a fact. */
struct change {
	__u32 opened, closed, refused, timed_out;
	__u64 sent, received;
	__u64 since; /* ns since boot, when it began before now */
};

static __always_inline void map_v4(__u8 *to, __be32 v4)
{
	__builtin_memset(to, 0, 10);
	to[10] = 0xff;
	to[11] = 0xff;
	__builtin_memcpy(to + 12, &v4, 4);
}

/* False when the map of facts is full. */
static __noinline bool flow_record(struct flow_key *key, struct end *end, struct change *c)
{
	struct flow_fact *fact;
	__u64 now = bpf_ktime_get_boot_ns();
	__u32 zero = 0, hash, slot;
	void *map = bpf_map_lookup_elem(&facts, &zero);

	if (!map || !key || !end || !c) /* not filled yet: the agent attaches after it filled it */
		return true;
	fact = bpf_map_lookup_elem(map, key);
	if (!fact) {
		struct flow_fact fresh = {};

		fresh.first = c->since ? c->since : now;
		fresh.cgroup_id = end->cgroup_id;
		__builtin_memset(fresh.sample, 0xff, sizeof(fresh.sample));
		bpf_map_update_elem(map, key, &fresh, BPF_NOEXIST); /* another CPU may have been first: as good */
		fact = bpf_map_lookup_elem(map, key);
		if (!fact)
			return false;
	}
	if (c->since && c->since < fact->first)
		fact->first = c->since;
	fact->last = now;
	__builtin_memcpy(fact->local, end->local, sizeof(fact->local));
	/* Most of these are zero most of the time, and a locked addition is not free. */
	if (c->opened)
		__sync_fetch_and_add(&fact->opened, c->opened);
	if (c->closed)
		__sync_fetch_and_add(&fact->closed, c->closed);
	if (c->refused)
		__sync_fetch_and_add(&fact->refused, c->refused);
	if (c->timed_out)
		__sync_fetch_and_add(&fact->timed_out, c->timed_out);
	if (c->sent)
		__sync_fetch_and_add(&fact->sent, c->sent);
	if (c->received)
		__sync_fetch_and_add(&fact->received, c->received);
	if (key->role != FLOW_LISTEN && end->client) {
		hash = end->client * 0x9e3779b1u; /* 2^32 / golden ratio */
		slot = hash >> 29;
		hash = (hash << 3 & 0xffff0000) | end->client;
		if (hash < fact->sample[slot])
			fact->sample[slot] = hash;
	}
	touched = now;
	return true;
}

#endif
