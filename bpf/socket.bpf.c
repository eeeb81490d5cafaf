//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * TCP: who listens, who called whom, how it went, how many bytes.
 *
 *   inet_sock_set_state       each change of a TCP socket's state
 *   iter/task_file            sockets that are older than the agent: gives them an owner, once
 *   iter/bpf_sk_storage_map   bytes of connections that live on, now and then
 *
 * A socket that begins to listen or to connect does so in its process, so there the owner is written into the socket's
 * storage. An accepted socket inherits that from its listener (BPF_F_CLONE), so the states that come later, in softirq,
 * know whose they are without a hook on accept. One fact sums up all connections between a process and a peer.
 */
#include "compat.h"
#include "flow.h"
#include "turn.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* include/net/tcp_states.h */
#define TCP_ESTABLISHED 1
#define TCP_SYN_SENT 2
#define TCP_CLOSE 7
#define TCP_CLOSE_WAIT 8
#define TCP_LISTEN 10

enum {
	SOCKET_LOST_FACT, /* the map of facts was full */
	SOCKET_LOST_OWNER, /* no memory for the socket's storage */
	SOCKET_UNKNOWN_OWNER, /* a connection of a socket that is older than the agent */
	SOCKET_LOST_LISTENER, /* the map of listeners was full while older sockets were looked at */
	SOCKET_LOSSES,
};

LOSS_MAP(SOCKET_LOSSES);

struct owner {
	struct who who;
	__u64 cgroup_id;
	__u32 role;
	/* Kept here, since a socket that closes has given its own port back before it says so. */
	__u16 port; /* the listener's, in host order */
	__u16 client;
	/* Payload bytes that are in facts already. */
	__u64 sent;
	__u64 received;
};

/* Deleted by the kernel with its socket; bounded by the number of sockets. No memory: counted. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct owner);
} owners SEC(".maps");

/*
 * The same by the socket's address, for kernels without the storage. Deleted when the socket closes; a socket that finds
 * no room is counted.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct owner);
} old_owners SEC(".maps");

struct listening {
	__u32 net_ns;
	__u32 port;
};

/*
 * Who listens: tells an accepted connection from one that was made, and whose it is where the listener's own storage
 * cannot be reached (the TCP socket behind an older MPTCP one, which Go's listeners are by default, has no descriptor;
 * kernels without storage). Deleted when the listener closes, of those that the tracepoint saw begin. One that finds no
 * room is counted.
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

static __noinline int record(struct sock *sk, struct owner *owner, struct change *c)
{
	struct flow_key key = {};
	struct end end = {};

	if (!sk || !owner)
		return 0;
	key.who = owner->who;
	key.net_ns = sk->__sk_common.skc_net.net->ns.inum;
	key.role = owner->role;
	key.protocol = IPPROTO_TCP;
	key.port = owner->port;
	addresses(sk, end.local, key.peer);
	if (owner->role == FLOW_LISTEN)
		__builtin_memcpy(key.peer, end.local, sizeof(key.peer));
	end.cgroup_id = owner->cgroup_id;
	end.client = owner->client;
	if (!flow_record(&key, &end, c))
		count_loss(&losses, SOCKET_LOST_FACT);
	return 0;
}

static __always_inline struct owner *owner_of(struct sock *sk)
{
	__u64 address = (__u64)sk;

	if (HAVE_SOCKET_STORAGE)
		return bpf_sk_storage_get(&owners, sk, NULL, 0);
	return bpf_map_lookup_elem(&old_owners, &address);
}

/* Gives the socket an owner, in place of one that it had for an earlier connection. */
static __always_inline struct owner *give(struct sock *sk, struct owner *owner)
{
	__u64 address = (__u64)sk;
	struct owner *given;

	if (HAVE_SOCKET_STORAGE) {
		given = bpf_sk_storage_get(&owners, sk, owner, BPF_SK_STORAGE_GET_F_CREATE);
		if (given)
			*given = *owner;
	} else {
		bpf_map_update_elem(&old_owners, &address, owner, BPF_ANY);
		given = bpf_map_lookup_elem(&old_owners, &address);
	}
	if (!given)
		count_loss(&losses, SOCKET_LOST_OWNER);
	return given;
}

static __always_inline void listening_on(struct sock *sk, __u16 port, struct listening *l)
{
	l->net_ns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	l->port = port;
}

static __always_inline void begin(struct sock *sk, __u32 role)
{
	struct owner owner = {};
	struct listening l;

	current_who(&owner.who, &owner.cgroup_id);
	owner.role = role;
	owner.port = role == FLOW_LISTEN ? sk->__sk_common.skc_num : bpf_ntohs(sk->__sk_common.skc_dport);
	give(sk, &owner);
	if (role != FLOW_LISTEN || HAVE_SOCKET_STORAGE) /* which the accepted sockets inherit */
		return;
	listening_on(sk, owner.port, &l);
	if (bpf_map_update_elem(&listeners, &l, &owner, BPF_ANY))
		count_loss(&losses, SOCKET_LOST_LISTENER);
}

/* The socket is closed: without storage, what was kept of it has to be deleted. */
static __always_inline void end_of(struct sock *sk, struct owner *owner)
{
	__u64 address = (__u64)sk;
	struct listening l;

	if (HAVE_SOCKET_STORAGE)
		return;
	if (owner->role == FLOW_LISTEN) {
		listening_on(sk, owner->port, &l);
		bpf_map_delete_elem(&listeners, &l);
	}
	bpf_map_delete_elem(&old_owners, &address);
}

/* What went over the connection since it was last asked. */
static __always_inline void count_bytes(struct sock *sk, struct owner *owner, struct change *c)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	__u64 sent, received;

	if (!tp) /* cannot be: it is TCP */
		return;
	sent = tp->bytes_sent - tp->bytes_retrans;
	received = tp->bytes_received;

	/* The peer's FIN takes one number of the sequence, and is counted there; tcp_fin() leaves SOCK_DONE behind. */
	if (received && sk->__sk_common.skc_flags & 1UL << bpf_core_enum_value(enum sock_flags, SOCK_DONE))
		received--;
	/* Between two reads of a live connection a retransmission may be counted first in one, then in the other. */
	c->sent = sent > owner->sent ? sent - owner->sent : 0;
	c->received = received > owner->received ? received - owner->received : 0;
	owner->sent = sent;
	owner->received = received;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(socket_state, struct sock *sk, int old, int state)
{
	struct change c = {};
	struct owner *owner, copy;

	if (state != TCP_ESTABLISHED && state != TCP_CLOSE && state != TCP_SYN_SENT && state != TCP_LISTEN)
		return 0;
	/* An MPTCP socket goes through the same states as its TCP subflow, which carries the addresses and the bytes. */
	if (sk->sk_protocol != IPPROTO_TCP || !my_turn())
		return 0;
	if (state == TCP_SYN_SENT) { /* counted when it is known how it went */
		begin(sk, FLOW_OUTBOUND);
		return 0;
	}
	if (state == TCP_LISTEN)
		begin(sk, FLOW_LISTEN);
	owner = owner_of(sk);
	if (!owner && state == TCP_ESTABLISHED) {
		struct listening l;

		listening_on(sk, sk->__sk_common.skc_num, &l);
		owner = bpf_map_lookup_elem(&listeners, &l);
		if (owner) {
			copy = *owner;
			owner = give(sk, &copy);
		}
	}
	if (!owner) {
		/* Bound but never connected sockets are born and closed in CLOSE: not a connection. */
		if (old != TCP_CLOSE)
			count_loss(&losses, SOCKET_UNKNOWN_OWNER);
		return 0;
	}
	if (state == TCP_ESTABLISHED) {
		if (owner->role == FLOW_OUTBOUND) {
			owner->client = sk->__sk_common.skc_num;
		} else { /* inherited */
			owner->role = FLOW_INBOUND;
			owner->client = bpf_ntohs(sk->__sk_common.skc_dport);
		}
	}
	copy = *owner;
	switch (state) {
	case TCP_LISTEN:
	case TCP_ESTABLISHED:
		c.opened = 1;
		break;
	default:
		if (old == TCP_SYN_SENT) {
			if (sk->sk_err == ECONNREFUSED)
				c.refused = 1;
			else /* nobody answered: until the kernel gave up, or the caller did */
				c.timed_out = 1;
			break;
		}
		c.closed = 1;
		if (copy.role == FLOW_LISTEN) {
			if (old != TCP_LISTEN) /* inherited by a handshake that never became a connection */
				return 0;
			break;
		}
		count_bytes(sk, owner, &c);
	}
	if (state == TCP_CLOSE)
		end_of(sk, &copy);
	return record(sk, &copy, &c);
}

/* 1: listeners, 2: connections. Written by the agent before each walk. */
volatile __u32 adopting;

SEC("iter/task_file")
int socket_adopt(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct listening l;
	struct change c = {};
	struct socket *socket;
	struct owner fresh = {};
	struct sock *sk;
	__u8 state;

	if (!task || !file)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (!sk || (sk->sk_protocol != IPPROTO_TCP && sk->sk_protocol != IPPROTO_MPTCP))
		return 0;
	if (sk->__sk_common.skc_family != AF_INET && sk->__sk_common.skc_family != AF_INET6)
		return 0;
	state = sk->__sk_common.skc_state;
	if (adopting == 1 ? state != TCP_LISTEN : state != TCP_ESTABLISHED && state != TCP_CLOSE_WAIT)
		return 0;
	listening_on(sk, sk->__sk_common.skc_num, &l);
	who_is(task, &fresh.who);
	fresh.cgroup_id = cgroup_of(task);
	fresh.port = l.port;
	if (state == TCP_LISTEN) {
		fresh.role = FLOW_LISTEN;
		c.opened = 1;
		if (bpf_map_update_elem(&listeners, &l, &fresh, BPF_ANY))
			count_loss(&losses, SOCKET_LOST_LISTENER);
	} else if (bpf_map_lookup_elem(&listeners, &l)) {
		fresh.role = FLOW_INBOUND;
		fresh.client = bpf_ntohs(sk->__sk_common.skc_dport);
	} else {
		fresh.role = FLOW_OUTBOUND;
		fresh.port = bpf_ntohs(sk->__sk_common.skc_dport);
		fresh.client = l.port;
	}
	if (sk->sk_protocol == IPPROTO_TCP) {
		if (bpf_sk_storage_get(&owners, sk, NULL, 0)) /* the tracepoint, or another descriptor, was first */
			return 0;
		give(sk, &fresh);
	}
	record(sk, &fresh, &c);
	return 0;
}

SEC("iter/bpf_sk_storage_map")
int socket_bytes(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct sock *sk = ctx->sk;
	struct owner *owner = ctx->value, copy;
	struct change c = {};

	if (!sk || !owner || owner->role == FLOW_LISTEN || sk->__sk_common.skc_state != TCP_ESTABLISHED)
		return 0;
	count_bytes(sk, owner, &c);
	if (!c.sent && !c.received)
		return 0;
	copy = *owner;
	record(sk, &copy, &c);
	return 0;
}
