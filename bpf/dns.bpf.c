//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * DNS: the answers that sockets get, whole, for user space to read. Full tier, since 5.19:
 *
 *   udp_recvmsg, udpv6_recvmsg   a datagram was received: all but those from port 53 leave after a few loads
 *
 * Base tier:
 *
 *   cgroup_skb/ingress   each packet on its way into a socket; all but UDP from port 53 leave after a few loads
 *
 * Whose the socket is the UDP sensor left in its storage when it was connected, or the question sent: there a packet is seen in softirq,
 * where nobody runs who could be asked, and here an answer that the socket did not ask for is to be left alone.
 */
#include "spoor.h"
#include "talker.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

enum {
	DNS_LOST_ANSWER, /* the ring was full */
	DNS_CUT, /* longer than ANSWER_BYTES: its last records are missing */
	DNS_UNKNOWN_OWNER, /* the socket is older than the UDP sensor */
	DNS_UNREADABLE, /* the packet ends before it says it does */
	DNS_LOSSES,
};

LOSS_MAP(DNS_LOSSES);

#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd
#define IPPROTO_UDP 17
#define DNS_PORT 53
#define DNS_HEADER 12 /* bytes: RFC 1035, 4.1.1 */
#define DNS_RESPONSE 0x80 /* QR, in the third byte */

/* Resolvers ask for up to 4,096 bytes by EDNS; since 2020 most ask for 1,232. */
#define ANSWER_BYTES 4096

/* include/uapi/linux/bpf.h: the context of this hook, and the socket it is about */
struct bpf_sock {
	__u32 bound_dev_if;
	__u32 family;
};

struct __sk_buff {
	__u32 len;
	__u32 pkt_type;
	__u32 mark;
	__u32 queue_mapping;
	__u32 protocol;
	__u32 vlan_present;
	__u32 vlan_tci;
	__u32 vlan_proto;
	__u32 priority;
	__u32 ingress_ifindex;
	__u32 ifindex;
	__u32 tc_index;
	__u32 cb[5];
	__u32 hash;
	__u32 tc_classid;
	__u32 data;
	__u32 data_end;
	__u32 napi_id;
	__u32 family;
	__u32 remote_ip4;
	__u32 local_ip4;
	__u32 remote_ip6[4];
	__u32 local_ip6[4];
	__u32 remote_port;
	__u32 local_port;
	__u32 data_meta;
	__u64 flow_keys;
	__u64 tstamp;
	__u32 wire_len;
	__u32 gso_segs;
	struct bpf_sock *sk;
};

/* RFC 791, 8200 and 768: what is read of them */
struct ipv4 {
	__u8 version_ihl;
	__u8 tos;
	__be16 length;
	__be16 id;
	__be16 fragment;
	__u8 ttl;
	__u8 protocol;
	__be16 checksum;
	__be32 source;
	__be32 destination;
};

struct ipv6 {
	__be32 version_class_flow;
	__be16 payload;
	__u8 next_header;
	__u8 hop_limit;
	__u8 source[16];
	__u8 destination[16];
};

struct udp {
	__be16 source;
	__be16 destination;
	__be16 length;
	__be16 checksum;
};

struct answer_record {
	__u64 time; /* ns since boot */
	struct who who; /* whose the socket is */
	__u64 cgroup_id;
	__u8 server[16]; /* who answered; IPv6, or IPv4-mapped */
	__u32 net_ns;
	__u32 bytes; /* that follow */
};
ASSERT_SIZE(struct answer_record, 56);

/* A type that only lives in a map's value is left out of the BTF that bpf2go reads. */
const struct answer_record *unused_answer_record __attribute__((unused));

/* Emptied by the agent twice a second: room for some 5,000 answers. One that finds none is counted. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} answers SEC(".maps");

/* Who puts together where. */
enum {
	DNS_PACKET,
	DNS_RECEIVED4,
	DNS_RECEIVED6,
	DNS_PROGRAMS,
};

struct answer {
	struct answer_record head;
	__u8 message[ANSWER_BYTES];
};

/* Where an answer is put together: of each CPU, and there neither do packets interrupt each other, nor is a program entered twice. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DNS_PROGRAMS);
	__type(key, __u32);
	__type(value, struct answer);
} scratch SEC(".maps");

#define ALLOW 1 /* whatever is seen: nothing is ever forbidden here */

static __always_inline struct answer *scratch_of(__u32 program)
{
	return bpf_map_lookup_elem(&scratch, &program);
}

/* Remembers who answered. */
static __always_inline void from(struct answer *a, const void *source, __u32 size)
{
	if (size == 4) {
		__builtin_memset(a->head.server, 0, 10);
		a->head.server[10] = 0xff;
		a->head.server[11] = 0xff;
		__builtin_memcpy(a->head.server + 12, source, 4);
	} else {
		__builtin_memcpy(a->head.server, source, 16);
	}
}

/* How many bytes of a message there is room for. */
static __always_inline __u32 fitting(__u32 bytes)
{
	if (bytes > ANSWER_BYTES) {
		bytes = ANSWER_BYTES;
		count_loss(&losses, DNS_CUT);
	}
	/* The compiler knows what the verifier has to see. */
	asm volatile("" : "+r"(bytes));
	return bytes;
}

/* The message is there: tells of it. */
static __always_inline void tell(struct answer *a, struct talker *t, __u32 bytes)
{
	if (!(a->message[2] & DNS_RESPONSE)) /* a question: this socket serves */
		return;
	a->head.time = bpf_ktime_get_boot_ns();
	a->head.who = t->who;
	a->head.cgroup_id = t->cgroup_id;
	a->head.net_ns = t->net_ns;
	a->head.bytes = bytes;
	/* The next interval's reading finds it: no reader is woken. */
	if (bpf_ringbuf_output(&answers, a, sizeof(a->head) + bytes, BPF_RB_NO_WAKEUP))
		count_loss(&losses, DNS_LOST_ANSWER);
}

/* at: where the UDP header begins. */
static __noinline int take(struct __sk_buff *skb, __u32 at)
{
	struct answer *a = scratch_of(DNS_PACKET);
	struct bpf_sock *sk = skb->sk;
	struct talker *t;
	__u32 bytes;

	at += sizeof(struct udp);
	bytes = skb->len - at;
	if (skb->len < at + DNS_HEADER) /* no DNS message */
		return 0;
	if (!a || !sk) /* the verifier cannot know that neither can be */
		return 0;
	sk = bpf_sk_fullsock(sk);
	if (!sk) /* UDP sockets are all full ones */
		return 0;
	t = bpf_sk_storage_get(&talkers, sk, NULL, 0);
	if (!t) {
		count_loss(&losses, DNS_UNKNOWN_OWNER);
		return 0;
	}
	bytes = fitting(bytes);
	if (bytes < DNS_HEADER || bytes > ANSWER_BYTES)
		return 0;
	if (bpf_skb_load_bytes(skb, at, a->message, bytes)) {
		count_loss(&losses, DNS_UNREADABLE);
		return 0;
	}
	tell(a, t, bytes);
	return 0;
}

SEC("cgroup_skb/ingress")
int dns_answered(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct answer *a;
	struct udp *udp;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct ipv4 *ip = data;

		if ((void *)(ip + 1) > end || ip->protocol != IPPROTO_UDP)
			return ALLOW;
		udp = data + (ip->version_ihl & 0xf) * 4;
		if ((void *)(udp + 1) > end || udp->source != bpf_htons(DNS_PORT))
			return ALLOW;
		a = scratch_of(DNS_PACKET);
		if (a) /* the verifier cannot know that it is there */
			from(a, &ip->source, sizeof(ip->source));
		take(skb, (ip->version_ihl & 0xf) * 4);
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6 *ip = data;

		/* Not behind extension headers, which resolvers do not use. */
		udp = (void *)(ip + 1);
		if ((void *)(udp + 1) > end || ip->next_header != IPPROTO_UDP || udp->source != bpf_htons(DNS_PORT))
			return ALLOW;
		a = scratch_of(DNS_PACKET);
		if (a)
			from(a, ip->source, sizeof(ip->source));
		take(skb, sizeof(*ip));
	}
	return ALLOW;
}

#define MSG_PEEK 2 /* include/linux/socket.h */

struct iovec {
	void *iov_base;
} KERNEL_TYPE;

enum iter_type {
	ITER_IOVEC,
	ITER_UBUF,
};

/* include/linux/uio.h; since 6.4 __iov, before iov */
struct iov_iter {
	__u8 iter_type;
	unsigned long iov_offset;
	const struct iovec *__iov;
	void *ubuf;
} KERNEL_TYPE;

struct iov_iter___before_6_4 {
	const struct iovec *iov;
} KERNEL_TYPE;

struct msghdr {
	struct iov_iter msg_iter;
} KERNEL_TYPE;

/*
 * Where in its process's memory a datagram of so many bytes was put that was just received: NULL when it went elsewhere, or ended the
 * first of several pieces.
 */
static __always_inline void *received_at(struct iov_iter *to, __u32 bytes)
{
	unsigned long offset = BPF_CORE_READ(to, iov_offset);
	__u8 type = BPF_CORE_READ(to, iter_type);
	const struct iovec *piece;

	if (offset < bytes)
		return NULL;
	if (bpf_core_enum_value_exists(enum iter_type, ITER_UBUF) &&
	    type == bpf_core_enum_value(enum iter_type, ITER_UBUF))
		return BPF_CORE_READ(to, ubuf) + offset - bytes;
	if (type != bpf_core_enum_value(enum iter_type, ITER_IOVEC))
		return NULL;
	if (bpf_core_field_exists(to->__iov))
		piece = BPF_CORE_READ(to, __iov);
	else
		piece = BPF_CORE_READ((struct iov_iter___before_6_4 *)to, iov);
	return BPF_CORE_READ(piece, iov_base) + offset - bytes;
}

/*
 * Of a socket that is not connected the UDP sensor has noted who sent the datagram, or, where the process did not want to know,
 * whom it asked last; and whether it was the socket that spoke first.
 */
static __always_inline int received(struct sock *sk, struct msghdr *msg, int flags, int ret, __u32 program)
{
	__be16 port = sk->__sk_common.skc_dport;
	struct answer *a;
	struct talker *t;
	__u32 bytes;
	void *at;

	if ((port && port != bpf_htons(DNS_PORT)) || ret < DNS_HEADER || flags & MSG_PEEK)
		return 0;
	t = bpf_sk_storage_get(&talkers, sk, NULL, 0);
	if (!t) {
		if (port)
			count_loss(&losses, DNS_UNKNOWN_OWNER);
		return 0;
	}
	a = scratch_of(program);
	if (!a || t->role != FLOW_OUTBOUND || (!port && t->peer_port != DNS_PORT))
		return 0;
	from(a, t->peer, sizeof(t->peer));
	at = received_at(&msg->msg_iter, ret);
	bytes = fitting(ret);
	if (bytes < DNS_HEADER || bytes > ANSWER_BYTES)
		return 0;
	if (!at || bpf_probe_read_user(a->message, bytes, at)) {
		count_loss(&losses, DNS_UNREADABLE);
		return 0;
	}
	tell(a, t, bytes);
	return 0;
}

SEC("fexit/udp_recvmsg")
int BPF_PROG(dns_received4, struct sock *sk, struct msghdr *msg, unsigned long len, int flags, int *addr_len, int ret)
{
	return received(sk, msg, flags, ret, DNS_RECEIVED4);
}

SEC("fexit/udpv6_recvmsg")
int BPF_PROG(dns_received6, struct sock *sk, struct msghdr *msg, unsigned long len, int flags, int *addr_len, int ret)
{
	return received(sk, msg, flags, ret, DNS_RECEIVED6);
}
