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
	/* The socket's address; 0: a free place, CLAIMED: one that is being filled. */
	volatile __u64 socket;
};
ASSERT_SIZE(struct owner, 104);

/* Programs can exchange a value and learn what it was: since 5.12. */
const volatile bool atomics;

#define PLACES 16384 /* 1.7 MB */
#define CLAIMED 1

/*
 * Owners of sockets, from LISTEN, SYN_SENT or SYN_RECV until CLOSE. Each address has one place here, which is taken and left for
 * a twentieth of what an entry of a hash costs; most sockets live for milliseconds. Whose place is taken goes into the hash
 * (docs/decisions/055).
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PLACES);
	__type(key, __u32);
	__type(value, struct owner);
} places SEC(".maps");

/*
 * Those that found their place taken, by the socket's address. A hash and not the sockets' storage, which would be made, copied and
 * freed for four times the price (docs/decisions/051). One that finds no room is counted.
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

/* The verifier lets no program reckon with a pointer; what was in a map is a number. cell: of this program and CPU. */
static __always_inline __u64 number_of(const void *socket, volatile __u64 *cell)
{
	*cell = (__u64)socket;
	return *cell;
}

static __always_inline struct owner *place_of(__u64 address)
{
	/* Sockets lie at multiples of their size; the upper bits of a product with the golden ratio are spread evenly. */
	__u32 i = address * 0x9e3779b97f4a7c15ULL >> 50;

	return bpf_map_lookup_elem(&places, &i);
}

static __always_inline struct owner *owner_of(__u64 address)
{
	struct owner *place = place_of(address);

	if (place && place->socket == address)
		return place;
	return bpf_map_lookup_elem(&owners, &address);
}

/* Gives the socket an owner, in place of one that it had for an earlier connection. */
static __always_inline bool give(__u64 address, struct owner *owner)
{
	struct owner *place;

	owner->socket = address;
	place = atomics ? place_of(address) : NULL;
	if (place && __sync_val_compare_and_swap(&place->socket, 0, CLAIMED) == 0) {
		__builtin_memcpy(place, owner, __builtin_offsetof(struct owner, socket));
		/* Whoever reads the address finds the rest. */
		__sync_lock_test_and_set(&place->socket, address);
		return true;
	}
	if (!bpf_map_update_elem(&owners, &address, owner, BPF_ANY))
		return true;
	count_loss(&losses, SOCKET_LOST_OWNER);
	return false;
}

/* Ends what give began. The owner is somebody else's from here on. */
static __always_inline void take_back(struct owner *owner, __u64 address)
{
	if (owner != place_of(address)) {
		bpf_map_delete_elem(&owners, &address);
		return;
	}
	/* The compiler knows them to be equal, and the verifier only of one that it is no NULL. */
	asm volatile("" : "+r"(owner));
	__sync_lock_test_and_set(&owner->socket, 0);
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
static __always_inline void inherit(struct sock *sk, __u64 address, volatile __u64 *cell)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct owner *owner, fresh;
	struct listening l;
	__u64 listener;

	if (!tp) /* cannot be: it is TCP */
		return;
	listener = number_of(
		(void *)tp->tsorted_sent_queue.next - bpf_core_field_offset(struct tcp_sock, tsorted_sent_queue), cell);
	owner = owner_of(listener);
	if (!owner || owner->key.role != FLOW_LISTEN) {
		listening_on(sk, sk->__sk_common.skc_num, &l);
		owner = bpf_map_lookup_elem(&listeners, &l);
		if (!owner)
			return;
	}
	fresh = *owner;
	fresh.key.role = FLOW_INBOUND;
	give(address, &fresh);
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
