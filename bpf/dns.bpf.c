//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * DNS: the answers that sockets get, whole, for user space to read.
 *
 *   cgroup_skb/ingress   each packet on its way into a socket; all but UDP from port 53 leave after a few loads
 *
 * The packet is seen in softirq, where nobody runs who could be asked for his name: the UDP sensor left that in the socket's
 * storage when the socket was connected, or the question sent.
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

struct answer {
	struct answer_record head;
	__u8 message[ANSWER_BYTES];
};

/* Where an answer is put together: of each CPU, and packets do not interrupt each other there. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct answer);
} scratch SEC(".maps");

#define ALLOW 1 /* whatever is seen: nothing is ever forbidden here */

/* at: where the UDP header begins. */
static __noinline int take(struct __sk_buff *skb, __u32 at)
{
	struct bpf_sock *sk = skb->sk;
	__u32 zero = 0, bytes;
	struct answer *a;
	struct talker *t;

	at += sizeof(struct udp);
	bytes = skb->len - at;
	if (skb->len < at + DNS_HEADER) /* no DNS message */
		return 0;
	a = bpf_map_lookup_elem(&scratch, &zero);
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
	if (bytes > ANSWER_BYTES) {
		bytes = ANSWER_BYTES;
		count_loss(&losses, DNS_CUT);
	}
	/* The compiler knows what the verifier has to see. */
	asm volatile("" : "+r"(bytes));
	if (bytes < DNS_HEADER || bytes > ANSWER_BYTES)
		return 0;
	if (bpf_skb_load_bytes(skb, at, a->message, bytes)) {
		count_loss(&losses, DNS_UNREADABLE);
		return 0;
	}
	if (!(a->message[2] & DNS_RESPONSE)) /* a question: this socket serves */
		return 0;
	a->head.time = bpf_ktime_get_boot_ns();
	a->head.who = t->who;
	a->head.cgroup_id = t->cgroup_id;
	a->head.net_ns = t->net_ns;
	a->head.bytes = bytes;
	/* The next interval's reading finds it: no reader is woken. */
	if (bpf_ringbuf_output(&answers, a, sizeof(a->head) + bytes, BPF_RB_NO_WAKEUP))
		count_loss(&losses, DNS_LOST_ANSWER);
	return 0;
}

/* Remembers who answered. */
static __always_inline void from(const void *source, __u32 size)
{
	__u32 zero = 0;
	struct answer *a = bpf_map_lookup_elem(&scratch, &zero);

	if (!a) /* the verifier cannot know that it is there */
		return;
	if (size == 4) {
		__builtin_memset(a->head.server, 0, 10);
		a->head.server[10] = 0xff;
		a->head.server[11] = 0xff;
		__builtin_memcpy(a->head.server + 12, source, 4);
	} else {
		__builtin_memcpy(a->head.server, source, 16);
	}
}

SEC("cgroup_skb/ingress")
int dns_answered(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct udp *udp;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct ipv4 *ip = data;

		if ((void *)(ip + 1) > end || ip->protocol != IPPROTO_UDP)
			return ALLOW;
		udp = data + (ip->version_ihl & 0xf) * 4;
		if ((void *)(udp + 1) > end || udp->source != bpf_htons(DNS_PORT))
			return ALLOW;
		from(&ip->source, sizeof(ip->source));
		take(skb, (ip->version_ihl & 0xf) * 4);
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6 *ip = data;

		/* Not behind extension headers, which resolvers do not use. */
		udp = (void *)(ip + 1);
		if ((void *)(udp + 1) > end || ip->next_header != IPPROTO_UDP || udp->source != bpf_htons(DNS_PORT))
			return ALLOW;
		from(ip->source, sizeof(ip->source));
		take(skb, sizeof(*ip));
	}
	return ALLOW;
}
