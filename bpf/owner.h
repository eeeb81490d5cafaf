/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Whose a TCP socket is, and what was told of it: kept from the moment in which its process is at hand, for those in which
 * it is not.
 */
#ifndef SPOOR_OWNER_H
#define SPOOR_OWNER_H

#include "flow.h"
#include "lost_by.h"

enum {
	SOCKET_LOST_FACT, /* the map of facts was full */
	SOCKET_LOST_OWNER, /* the map of owners was full */
	SOCKET_UNKNOWN_OWNER, /* a connection of a socket that is older than the agent */
	SOCKET_LOST_LISTENER, /* the map of listeners was full while older sockets were looked at */
	SOCKET_LOSSES,
};

LOSS_MAP(SOCKET_LOSSES);

/* What a socket's facts begin with, and what was told of it. */
struct owner {
	struct flow_key key;
	struct end end;
	/* Payload bytes that are in facts already. */
	__u64 sent;
	__u64 received;
	/* Since when the connection is there, ns since boot, for as long as no fact says so; see take_opening. */
	volatile __u64 opened;
};
ASSERT_SIZE(struct owner, 96);

/*
 * By the socket's address, from LISTEN, SYN_SENT or SYN_RECV until CLOSE. A hash and not the sockets' storage, which would
 * be made, copied and freed for four times the price (docs/decisions/051). One that finds no room is counted.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct owner);
} owners SEC(".maps");

struct listening {
	__u32 net_ns;
	__u32 port;
};

/*
 * Who listened before the agent came: tells an accepted connection from one that was made, and whose it is where the
 * listener itself was not met (the TCP socket behind an older MPTCP one, which Go's listeners are by default, has no
 * descriptor). Deleted when a listener of the same port closes. One that finds no room is counted.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct listening);
	__type(value, struct owner);
} listeners SEC(".maps");

static __always_inline void addresses(const struct sock *sk, __u8 *local, __u8 *peer)
{
	if (sk->__sk_common.skc_family == AF_INET6) {
		BPF_CORE_READ_INTO((struct in6_addr *)local, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO((struct in6_addr *)peer, sk, __sk_common.skc_v6_daddr);
		return;
	}
	map_v4(local, sk->__sk_common.skc_rcv_saddr);
	map_v4(peer, sk->__sk_common.skc_daddr);
}

static __always_inline void record(struct owner *owner, struct change *c)
{
	if (!flow_record(&owner->key, &owner->end, c))
		lose(&losses, SOCKET_LOST_FACT, owner->end.cgroup_id);
}

/* Gives the socket an owner, in place of one that it had for an earlier connection. */
static __always_inline bool give(struct sock *sk, struct owner *owner)
{
	__u64 address = (__u64)sk;

	if (!bpf_map_update_elem(&owners, &address, owner, BPF_ANY))
		return true;
	count_loss(&losses, SOCKET_LOST_OWNER);
	return false;
}

static __always_inline void listening_on(struct sock *sk, __u16 port, struct listening *l)
{
	l->net_ns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	l->port = port;
}

/*
 * A socket was made for a connection that comes in: in softirq, and nobody says which listener took it. Until
 * inet_csk_clone_lock() returns it is a copy of that, though, and the head of an empty list in it points at the original.
 */
static __always_inline void inherit(struct sock *sk)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct owner *owner, fresh;
	struct listening l;
	__u64 listener;

	if (!tp) /* cannot be: it is TCP */
		return;
	listener = (__u64)tp->tsorted_sent_queue.next - bpf_core_field_offset(struct tcp_sock, tsorted_sent_queue);
	owner = bpf_map_lookup_elem(&owners, &listener);
	if (!owner || owner->key.role != FLOW_LISTEN) {
		listening_on(sk, sk->__sk_common.skc_num, &l);
		owner = bpf_map_lookup_elem(&listeners, &l);
		if (!owner)
			return;
	}
	fresh = *owner;
	fresh.key.role = FLOW_INBOUND;
	give(sk, &fresh);
}

/* How many payload bytes went over the connection since it was last asked; flags are the socket's. */
static __always_inline void count_bytes(struct owner *owner, __u64 sent, __u64 received, unsigned long flags,
					struct change *c)
{
	/* The peer's FIN takes one number of the sequence, and is counted there; tcp_fin() leaves SOCK_DONE behind. */
	if (received && flags & 1UL << bpf_core_enum_value(enum sock_flags, SOCK_DONE))
		received--;
	/* Between two reads of a live connection a retransmission may be counted first in one, then in the other. */
	c->sent = sent > owner->sent ? sent - owner->sent : 0;
	c->received = received > owner->received ? received - owner->received : 0;
	owner->sent = sent;
	owner->received = received;
}

/*
 * That a connection is there is told when it closes, in one fact, or by the agent's next look at those that live on: most live
 * shorter than that, and a fact costs more than all the rest. Off before 5.12, where the two could not agree who tells it.
 */
const volatile bool patient;

/* How many connections are there whose beginning was not told yet: says to the agent that a look is worth it. */
volatile __s64 waiting;

/* In owner.opened: its connection closes. */
#define CLOSING (1ULL << 63)

/* Whatever is still to be told of the beginning of a connection goes into its last fact. */
static __always_inline void take_opening(struct owner *owner, struct change *c)
{
	if (!owner->opened)
		return;
	/* Either the agent's look was first, and has left 0, or it finds the bit, and leaves it to us. */
	__sync_fetch_and_add(&owner->opened, CLOSING);
	c->since = owner->opened & ~CLOSING;
	if (c->since) {
		c->opened = 1;
		__sync_fetch_and_add(&waiting, -1);
	}
}

#endif
