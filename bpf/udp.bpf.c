//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * UDP: who talks to whom.
 *
 *   cgroup/connect4, connect6   a socket is given one peer: no flow yet, since getaddrinfo(3) connects to every address
 *                               it finds, only to learn its own (RFC 6724), and sends nothing
 *   cgroup/sendmsg4, sendmsg6   a datagram to a peer that is named with it
 *   cgroup/recvmsg4, recvmsg6   a datagram whose sender is asked for
 *   iter/bpf_sk_storage_map     now and then: connected sockets that got an answer since
 *
 * They run for each datagram, so a socket's storage remembers whom it last talked with: until the next jiffy the same
 * peer costs a look there and no more. Whoever receives before he sends is the server. UDP has no counters of bytes.
 */
#include "flow.h"
#include "lost_by.h"
#include "talker.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

enum {
	UDP_LOST_FACT, /* the map of facts was full */
	UDP_LOST_OWNER, /* no memory for the socket's storage */
	UDP_LOSSES,
};

LOSS_MAP(UDP_LOSSES);

/* include/uapi/linux/bpf.h: the context of these hooks, addresses in network order */
struct bpf_sock {
	__u32 bound_dev_if;
	__u32 family;
	__u32 type;
	__u32 protocol;
	__u32 mark;
	__u32 priority;
	__u32 src_ip4;
	__u32 src_ip6[4];
	__u32 src_port; /* host order */
};

struct bpf_sock_addr {
	__u32 user_family;
	__u32 user_ip4;
	__u32 user_ip6[4];
	__u32 user_port;
	__u32 family;
	__u32 type;
	__u32 protocol;
	__u32 msg_src_ip4;
	__u32 msg_src_ip6[4];
	struct bpf_sock *sk;
};

/* How often a socket was connected: tells the agent whether a sweep can find anything. */
volatile __u64 connects;

static __always_inline void copy_v6(__u32 *to, const __u32 *from)
{
	to[0] = from[0];
	to[1] = from[1];
	to[2] = from[2];
	to[3] = from[3];
}

static __always_inline void own(struct talker *t, __u8 role)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	who_is(task, &t->who);
	t->cgroup_id = cgroup_of(task);
	t->net_ns = BPF_CORE_READ(task, nsproxy, net_ns, ns.inum);
	t->role = role;
}

/* Fills what a fact about the socket and its last peer begins with. */
static __always_inline void key_of(struct talker *t, __u16 own_port, struct flow_key *key, struct end *end)
{
	key->who = t->who;
	key->protocol = IPPROTO_UDP;
	key->role = t->role;
	key->port = t->role == FLOW_INBOUND ? own_port : t->peer_port;
	__builtin_memcpy(key->peer, t->peer, sizeof(key->peer));
	end->cgroup_id = t->cgroup_id;
	end->client = t->role == FLOW_INBOUND ? t->peer_port : own_port;
}

static __always_inline void get_peer(struct bpf_sock_addr *ctx, bool v6, __u8 *peer)
{
	__u32 words[4];

	if (v6) {
		copy_v6(words, ctx->user_ip6);
		__builtin_memcpy(peer, words, sizeof(words));
	} else {
		map_v4(peer, ctx->user_ip4);
	}
}

/* role: what the socket is if this is the first that is seen of it. */
static __always_inline void talk(struct bpf_sock_addr *ctx, __u32 role, bool v6)
{
	struct bpf_sock *sk = ctx->sk;
	struct change c = {};
	struct flow_key key = {};
	struct end end = {};
	struct talker *t;
	__u8 peer[16];
	__u32 words[4];
	__u64 jiffy;
	__u16 port;
	bool same;

	if (ctx->protocol != IPPROTO_UDP || !sk)
		return;
	t = bpf_sk_storage_get(&talkers, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!t) {
		count_loss(&losses, UDP_LOST_OWNER);
		return;
	}
	get_peer(ctx, v6, peer);
	port = bpf_ntohs(ctx->user_port);
	jiffy = bpf_jiffies64();
	same = t->role && !t->connected && !__builtin_memcmp(t->peer, peer, sizeof(peer)) && t->peer_port == port;
	if (same && t->jiffy == jiffy)
		return;

	if (!t->role)
		own(t, role);
	if (sk->family == AF_INET6) {
		copy_v6(words, sk->src_ip6);
		__builtin_memcpy(end.local, words, sizeof(end.local));
	} else {
		map_v4(end.local, sk->src_ip4);
	}
	/* The process's and not the socket's, which these hooks do not tell: they differ only for a socket passed across. */
	key.net_ns = BPF_CORE_READ((struct task_struct *)bpf_get_current_task(), nsproxy, net_ns, ns.inum);
	if (t->role == FLOW_INBOUND && !t->jiffy) { /* the first datagram: this socket serves */
		struct flow_key bound = { .who = t->who, .net_ns = key.net_ns, .protocol = IPPROTO_UDP };
		struct change one = { .opened = 1 };

		bound.role = FLOW_LISTEN;
		bound.port = sk->src_port;
		__builtin_memcpy(bound.peer, end.local, sizeof(bound.peer));
		end.cgroup_id = t->cgroup_id;
		if (!flow_record(&bound, &end, &one))
			lose(&losses, UDP_LOST_FACT, end.cgroup_id);
	}
	t->jiffy = jiffy;
	t->connected = 0;
	t->peer_port = port;
	__builtin_memcpy(t->peer, peer, sizeof(t->peer));
	key_of(t, sk->src_port, &key, &end);
	c.opened = !same;
	if (!flow_record(&key, &end, &c))
		lose(&losses, UDP_LOST_FACT, end.cgroup_id);
}

static __always_inline void connected(struct bpf_sock_addr *ctx, bool v6)
{
	struct bpf_sock *sk = ctx->sk;
	struct talker *t;

	if (ctx->protocol != IPPROTO_UDP || !sk)
		return;
	t = bpf_sk_storage_get(&talkers, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!t) {
		count_loss(&losses, UDP_LOST_OWNER);
		return;
	}
	own(t, FLOW_OUTBOUND);
	get_peer(ctx, v6, t->peer);
	t->peer_port = bpf_ntohs(ctx->user_port);
	t->connected = 1;
	__sync_fetch_and_add(&connects, 1);
}

#define ALLOW 1 /* whatever is seen: nothing is ever forbidden here */

SEC("cgroup/connect4")
int udp_connect4(struct bpf_sock_addr *ctx)
{
	connected(ctx, false);
	return ALLOW;
}

SEC("cgroup/connect6")
int udp_connect6(struct bpf_sock_addr *ctx)
{
	connected(ctx, true);
	return ALLOW;
}

SEC("cgroup/sendmsg4")
int udp_sendmsg4(struct bpf_sock_addr *ctx)
{
	talk(ctx, FLOW_OUTBOUND, false);
	return ALLOW;
}

SEC("cgroup/sendmsg6")
int udp_sendmsg6(struct bpf_sock_addr *ctx)
{
	talk(ctx, FLOW_OUTBOUND, true);
	return ALLOW;
}

SEC("cgroup/recvmsg4")
int udp_recvmsg4(struct bpf_sock_addr *ctx)
{
	talk(ctx, FLOW_INBOUND, false);
	return ALLOW;
}

SEC("cgroup/recvmsg6")
int udp_recvmsg6(struct bpf_sock_addr *ctx)
{
	talk(ctx, FLOW_INBOUND, true);
	return ALLOW;
}

SEC("iter/bpf_sk_storage_map")
int udp_answered(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct sock *sk = ctx->sk;
	struct talker *t = ctx->value;
	struct change c = { .opened = 1 };
	struct flow_key key = {};
	struct end end = {};

	/* __udp_queue_rcv_skb() notes the CPU of each datagram that a connected socket gets; it is -1 before the first. */
	if (!sk || !t || !t->connected || sk->__sk_common.skc_incoming_cpu < 0)
		return 0;
	t->connected = 0;
	key.net_ns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	if (sk->__sk_common.skc_family == AF_INET6)
		BPF_CORE_READ_INTO((struct in6_addr *)end.local, sk, __sk_common.skc_v6_rcv_saddr);
	else
		map_v4(end.local, sk->__sk_common.skc_rcv_saddr);
	key_of(t, sk->__sk_common.skc_num, &key, &end);
	if (!flow_record(&key, &end, &c))
		lose(&losses, UDP_LOST_FACT, end.cgroup_id);
	return 0;
}
