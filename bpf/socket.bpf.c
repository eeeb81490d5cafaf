//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * TCP: who listens, who called whom, how it went, how many bytes.
 *
 *   inet_sock_set_state       each change of a TCP socket's state, before 6.14 twice: see running
 *   iter/task_file            sockets that are older than the agent: gives them an owner, once
 *   iter/bpf_map_elem         connections that live on: that they began, soon; their bytes, now and then
 *
 * A socket that begins to listen or to connect does so in its process, so there its owner is written down, under the
 * socket's address. An accepted socket is given its listener's owner when it is made, so the states that come later, in
 * softirq, know whose they are without a hook on accept. One fact sums up all connections between a process and a peer.
 */
#include "compat.h"
#include "owner.h"
#include "turn.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* include/net/tcp_states.h */
#define TCP_ESTABLISHED 1
#define TCP_SYN_SENT 2
#define TCP_SYN_RECV 3
#define TCP_CLOSE 7
#define TCP_CLOSE_WAIT 8
#define TCP_LISTEN 10

/* All others are on the way to CLOSE, and say nothing. */
#define TELLING (1 << TCP_ESTABLISHED | 1 << TCP_SYN_SENT | 1 << TCP_SYN_RECV | 1 << TCP_CLOSE | 1 << TCP_LISTEN)

/* In the process that connects or listens. */
static __always_inline void begin(struct sock *sk, __u64 address, __u8 role)
{
	struct change c = { .opened = 1 };
	struct owner owner = {};

	current_who(&owner.key.who, &owner.end.cgroup_id);
	owner.key.net_ns = sk->__sk_common.skc_net.net->ns.inum;
	owner.key.role = role;
	owner.key.protocol = IPPROTO_TCP;
	addresses(sk, owner.end.local, owner.key.peer);
	if (role == FLOW_LISTEN) {
		owner.key.port = sk->__sk_common.skc_num;
		__builtin_memcpy(owner.key.peer, owner.end.local, sizeof(owner.key.peer));
	} else {
		owner.key.port = bpf_ntohs(sk->__sk_common.skc_dport);
	}
	if (give(address, &owner) && role == FLOW_LISTEN) /* of a connection it is to be known how it goes */
		record(&owner, &c);
}

/* A connection is there. */
static __always_inline void established(struct sock *sk, struct owner *owner)
{
	struct change c = { .opened = 1 };

	if (owner->key.role == FLOW_OUTBOUND) {
		owner->end.client = sk->__sk_common.skc_num;
	} else {
		addresses(sk, owner->end.local, owner->key.peer);
		owner->end.client = bpf_ntohs(sk->__sk_common.skc_dport);
	}
	if (atomics) {
		owner->opened = bpf_ktime_get_boot_ns();
		__sync_fetch_and_add(&waiting, 1);
	} else {
		record(owner, &c);
	}
}

/* A connection, a listener, or an attempt at one is over. */
static __always_inline void closed(struct sock *sk, struct owner *owner, int old)
{
	struct change c = {};
	struct listening l;

	if (old == TCP_SYN_SENT) {
		if (sk->sk_err == ECONNREFUSED)
			c.refused = 1;
		else /* nobody answered: until the kernel gave up, or the caller did */
			c.timed_out = 1;
	} else if (owner->key.role == FLOW_LISTEN) {
		listening_on(sk, owner->key.port, &l);
		bpf_map_delete_elem(&listeners, &l);
		c.closed = 1;
	} else if (!owner->end.client) { /* a handshake that never became a connection */
		return;
	} else {
		struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);

		c.closed = 1;
		take_opening(owner, &c);
		if (tp)
			count_bytes(owner, tp->bytes_sent - tp->bytes_retrans, tp->bytes_received,
				    sk->__sk_common.skc_flags, &c);
	}
	record(owner, &c);
}

/*
 * Since 6.1 the kernel does not enter a program on a CPU on which it interrupts that very program: a packet or a timer that
 * comes while a process connects would go unseen. So interrupts wait. Before 6.14 a program cannot have that; there a second
 * one is attached, which does what the first was kept from. It works in softirq only, where none of this interrupts it in
 * turn. What comes in the few instructions in which the first is entered and has not said so is counted: the kernel's count of
 * what it skipped, less rescued.
 */
struct {
	__u64 first; /* the first program is at work on this CPU */
	volatile __u64 socket[2]; /* see number_of; each program has its own */
	__u64 reserved[5]; /* CPUs share no cache line */
} running[TURN_CPUS];

/* How often the second program stood in for the first. */
volatile __u64 rescued;

struct inet_sock {
	__be16 inet_sport;
} KERNEL_TYPE;

/* A socket without an owner is closed: a listener that is older than the agent, whose descriptor was another's (MPTCP). */
static __always_inline bool closed_older(struct sock *sk)
{
	struct change c = { .closed = 1 };
	struct owner *owner, copy;
	struct listening l;

	/* The number of its port may be taken from the socket by now. */
	listening_on(sk, bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport)), &l);
	owner = bpf_map_lookup_elem(&listeners, &l);
	if (!owner)
		return false;
	copy = *owner;
	bpf_map_delete_elem(&listeners, &l);
	record(&copy, &c);
	return true;
}

static __always_inline void change_state(struct sock *sk, int old, int state, volatile __u64 *cell)
{
	__u64 address;
	struct owner *owner;

	/* An MPTCP socket goes through the same states as its TCP subflow, which carries the addresses and the bytes. */
	if (sk->sk_protocol != IPPROTO_TCP)
		return;
	address = number_of(sk, cell);
	switch (state) {
	case TCP_SYN_SENT:
		begin(sk, address, FLOW_OUTBOUND);
		return;
	case TCP_LISTEN:
		begin(sk, address, FLOW_LISTEN);
		return;
	case TCP_SYN_RECV:
		if (old == TCP_LISTEN) /* not one of two that connect to each other */
			inherit(sk, address, cell);
		return;
	}
	owner = owner_of(address);
	if (!owner) {
		/* Bound but never connected sockets are born and closed in CLOSE: not a connection. */
		if (old != TCP_CLOSE && !(old == TCP_LISTEN && closed_older(sk)))
			count_loss(&losses, SOCKET_UNKNOWN_OWNER);
		return;
	}
	if (state == TCP_ESTABLISHED) {
		established(sk, owner);
		return;
	}
	closed(sk, owner, old);
	take_back(owner, address);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(socket_state, struct sock *sk, int old, int state)
{
	__u32 cpu = bpf_get_smp_processor_id() & (TURN_CPUS - 1);
	unsigned long flags;

	if (!(1 << state & TELLING) || !my_turn())
		return 0;
	if (bpf_local_irq_save) {
		bpf_local_irq_save(&flags);
		change_state(sk, old, state, &running[cpu].socket[0]);
		bpf_local_irq_restore(&flags);
		return 0;
	}
	running[cpu].first = 1;
	barrier();
	change_state(sk, old, state, &running[cpu].socket[0]);
	barrier();
	running[cpu].first = 0;
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(socket_state_again, struct sock *sk, int old, int state)
{
	__u32 cpu = bpf_get_smp_processor_id() & (TURN_CPUS - 1);

	if (!running[cpu].first || !my_turn())
		return 0;
	__sync_fetch_and_add(&rescued, 1);
	if (1 << state & TELLING)
		change_state(sk, old, state, &running[cpu].socket[1]);
	return 0;
}

/* 1: listeners, 2: connections. Written by the agent before each walk. */
volatile __u32 adopting;

/* The TCP or MPTCP socket behind a descriptor, or NULL. */
static __always_inline struct sock *socket_of(struct file *file)
{
	struct socket *socket;
	struct sock *sk;
	__u16 family, protocol;

	if (file->f_inode->i_sb->s_magic != SOCKFS_MAGIC)
		return NULL;
	socket = file->private_data;
	sk = BPF_CORE_READ(socket, sk);
	if (!sk)
		return NULL;
	protocol = BPF_CORE_READ(sk, sk_protocol);
	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if ((protocol != IPPROTO_TCP && protocol != IPPROTO_MPTCP) || (family != AF_INET && family != AF_INET6))
		return NULL;
	return sk;
}

SEC("iter/task_file")
int socket_adopt(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct owner fresh = {};
	struct change c = {};
	struct listening l;
	struct sock *sk;
	__u16 peer_port;
	__u64 address;
	__u8 state;

	if (!task || !file)
		return 0;
	sk = socket_of(file);
	if (!sk)
		return 0;
	address = (__u64)sk;
	state = BPF_CORE_READ(sk, __sk_common.skc_state);
	if (adopting == 1 ? state != TCP_LISTEN : state != TCP_ESTABLISHED && state != TCP_CLOSE_WAIT)
		return 0;
	if (owner_of(address)) /* the tracepoint, or another descriptor, was first */
		return 0;
	listening_on(sk, BPF_CORE_READ(sk, __sk_common.skc_num), &l);
	peer_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	who_is(task, &fresh.key.who);
	fresh.end.cgroup_id = cgroup_of(task);
	fresh.key.net_ns = l.net_ns;
	fresh.key.protocol = IPPROTO_TCP;
	fresh.key.port = l.port;
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET6) {
		BPF_CORE_READ_INTO((struct in6_addr *)fresh.end.local, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO((struct in6_addr *)fresh.key.peer, sk, __sk_common.skc_v6_daddr);
	} else {
		map_v4(fresh.end.local, BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr));
		map_v4(fresh.key.peer, BPF_CORE_READ(sk, __sk_common.skc_daddr));
	}
	if (state == TCP_LISTEN) {
		fresh.key.role = FLOW_LISTEN;
		__builtin_memcpy(fresh.key.peer, fresh.end.local, sizeof(fresh.key.peer));
		c.opened = 1;
		if (bpf_map_update_elem(&listeners, &l, &fresh, BPF_ANY))
			count_loss(&losses, SOCKET_LOST_LISTENER);
	} else if (bpf_map_lookup_elem(&listeners, &l)) {
		fresh.key.role = FLOW_INBOUND;
		fresh.end.client = peer_port;
	} else {
		fresh.key.role = FLOW_OUTBOUND;
		fresh.key.port = peer_port;
		fresh.end.client = l.port;
	}
	/* What carries an MPTCP connection is a socket of its own, without a descriptor. */
	if (BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP && !give(address, &fresh))
		return 0;
	record(&fresh, &c);
	return 0;
}

/* Over the owners, when the agent reads facts: tells that connections are there which live on. */
SEC("iter/bpf_map_elem")
int socket_opened(struct bpf_iter__bpf_map_elem *ctx)
{
	struct owner *owner = ctx->value, copy;
	struct change c = { .opened = 1 };

	if (!owner || owner->socket <= CLAIMED)
		return 0;
	c.since = owner->opened;
	if (!c.since || c.since & CLOSING)
		return 0;
	copy = *owner;
	/* Fails when it closes now, or when its place is another's by now, whose time is another. */
	if (__sync_val_compare_and_swap(&owner->opened, c.since, 0) == c.since) {
		__sync_fetch_and_add(&waiting, -1);
		record(&copy, &c);
	}
	return 0;
}

/* Over the owners. A socket may close meanwhile, and its memory become another's: then it has not the client's port any more. */
SEC("iter/bpf_map_elem")
int socket_bytes(struct bpf_iter__bpf_map_elem *ctx)
{
	struct owner *owner = ctx->value, copy;
	struct change c = {};
	struct tcp_sock *tp;
	struct sock *sk;
	__u64 address;
	__u16 client;

	if (!owner)
		return 0;
	address = owner->socket;
	if (address <= CLAIMED || !owner->end.client)
		return 0;
	copy = *owner;
	sk = (void *)address;
	tp = (void *)address;
	if (copy.key.role == FLOW_OUTBOUND)
		client = BPF_CORE_READ(sk, __sk_common.skc_num);
	else
		client = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (client != copy.end.client || BPF_CORE_READ(sk, __sk_common.skc_state) != TCP_ESTABLISHED)
		return 0;
	count_bytes(&copy, BPF_CORE_READ(tp, bytes_sent) - BPF_CORE_READ(tp, bytes_retrans),
		    BPF_CORE_READ(tp, bytes_received), BPF_CORE_READ(sk, __sk_common.skc_flags), &c);
	if (!c.sent && !c.received)
		return 0;
	if (owner->socket != address) /* it closed, which told the rest, and the place may be another's */
		return 0;
	owner->sent = copy.sent;
	owner->received = copy.received;
	record(&copy, &c);
	return 0;
}
