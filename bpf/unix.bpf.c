//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Unix sockets: who holds the two ends of each connection. And raw, packet and SCTP sockets: that they are open.
 *
 *   iter/task_file   every descriptor of every process that is a Unix socket with a peer, one that listens, or one that
 *                    takes datagrams; or a raw or packet socket, or one that listens for SCTP
 *
 * The kernel keeps this state; it is read now and then and costs nothing in between. Descriptors and not sockets are walked,
 * since sockets know who connected and who listened, and not who has them now; and since they are listed by network
 * namespace, which another one's sockets cannot be read in.
 */
#include "spoor.h"
#include "path.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define AF_PACKET 17
#define SOCK_DGRAM 2
#define SOCK_RAW 3
#define IPPROTO_SCTP 132
#define TCP_LISTEN 10 /* of Unix sockets, too */

/* The same types as in kernel.h, with the fields that only this sensor reads. */
struct sock___unix {
	struct sock_common __sk_common;
	__u16 sk_type;
	__u16 sk_protocol;
} KERNEL_TYPE;

struct unix_address {
	int len;
	struct {
	} name[0];
} KERNEL_TYPE;

struct unix_sock {
	struct unix_address *addr;
	struct path path;
	struct sock *peer;
} KERNEL_TYPE;

#define NAME_BYTES 108 /* sun_path, unix(7) */

enum {
	UNIX_CUT = 1 << 0, /* the path lacks its beginning */
	UNIX_LISTENS = 1 << 1,
};

struct unix_record {
	struct who who;
	__u64 cgroup_id;
	__u64 socket; /* two addresses that tell sockets apart, good for one walk; 0: no peer */
	__u64 peer;
	__u64 inode; /* of the file that the socket is bound to; 0 when there is none */
	__u32 dev;
	__u32 generation;
	__u32 mnt_ns; /* of the process */
	__u32 net_ns; /* of the socket */
	__u16 name_bytes; /* that follow: as it was bound; an abstract name begins with a NUL */
	__u16 path_bytes; /* and these: components within the file system, leaf first */
	__u8 type; /* SOCK_* */
	__u8 flags;
	__u8 family; /* AF_*; what follows is of those of AF_INET and AF_INET6 */
	__u8 reserved;
	__u8 local[16]; /* IPv6, or IPv4-mapped */
	__u16 protocol; /* IPPROTO_* */
	__u16 port; /* 0 of a raw one */
	__u32 reserved2;
};
ASSERT_SIZE(struct unix_record, 96);

/* A type that only lives on the stack is left out of the BTF that bpf2go reads. */
const struct unix_record *unused_unix_record __attribute__((unused));

/* Where a path is put together; walks run one at a time. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct text);
} scratch SEC(".maps");

static __always_inline __u32 name_of(struct unix_sock *u, char *name)
{
	struct unix_address *addr = BPF_CORE_READ(u, addr);
	__u32 n;

	if (!addr)
		return 0;
	n = BPF_CORE_READ(addr, len) - sizeof(__u16); /* sun_family */
	if (!n || n > NAME_BYTES) /* unix_mkname() takes no others; one that was bound to nothing has none */
		return 0;
	if (bpf_probe_read_kernel(name, n, (void *)addr + bpf_core_field_offset(addr->name) + sizeof(__u16)))
		return 0;
	return n;
}

static __always_inline void file_of(struct unix_sock *u, struct unix_record *r, struct text *t)
{
	struct dentry *dentry = BPF_CORE_READ(u, path.dentry);
	struct inode *inode;

	if (!dentry)
		return;
	inode = BPF_CORE_READ(dentry, d_inode);
	r->inode = BPF_CORE_READ(inode, i_ino);
	r->dev = BPF_CORE_READ(inode, i_sb, s_dev);
	r->generation = BPF_CORE_READ(inode, i_generation);
	if (!append_path(t, dentry, NULL))
		r->flags |= UNIX_CUT;
}

/* Whose record it is. */
static __always_inline void hold(struct unix_record *r, struct task_struct *task, struct sock *sk)
{
	who_is(task, &r->who);
	r->cgroup_id = cgroup_of(task);
	r->mnt_ns = BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);
	r->net_ns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	r->socket = (__u64)sk;
}

/* Fills what is told of a socket that is no Unix socket; false: nothing is. */
static __always_inline bool of_another_family(struct unix_record *r, struct sock *sk)
{
	struct sock___unix *typed = (void *)sk;
	__be32 v4;

	r->type = BPF_CORE_READ(typed, sk_type);
	r->protocol = BPF_CORE_READ(typed, sk_protocol);
	if (r->family == AF_PACKET)
		return true;
	if (r->family != AF_INET && r->family != AF_INET6)
		return false;
	if (r->protocol == IPPROTO_SCTP && BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_LISTEN)
		r->port = BPF_CORE_READ(sk, __sk_common.skc_num);
	else if (r->type != SOCK_RAW)
		return false;
	if (r->family == AF_INET6) {
		BPF_CORE_READ_INTO((struct in6_addr *)r->local, sk, __sk_common.skc_v6_rcv_saddr);
	} else {
		v4 = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);
		r->local[10] = r->local[11] = 0xff;
		__builtin_memcpy(r->local + 12, &v4, sizeof(v4));
	}
	return true;
}

SEC("iter/task_file")
int unix_held(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct unix_record r = {};
	char name[NAME_BYTES] = {};
	struct socket *socket;
	struct unix_sock *u;
	struct sock *sk;
	__u32 zero = 0, named, used;
	struct text *t;

	if (!task || !file || file->f_inode->i_sb->s_magic != SOCKFS_MAGIC)
		return 0;
	socket = file->private_data;
	sk = BPF_CORE_READ(socket, sk);
	if (!sk)
		return 0;
	r.family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if (r.family != AF_UNIX) {
		if (of_another_family(&r, sk)) {
			hold(&r, task, sk);
			bpf_seq_write(ctx->meta->seq, &r, sizeof(r));
		}
		return 0;
	}
	u = (void *)sk;
	r.type = BPF_CORE_READ((struct sock___unix *)sk, sk_type);
	r.peer = (__u64)BPF_CORE_READ(u, peer);
	named = name_of(u, name);
	if (BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_LISTEN)
		r.flags |= UNIX_LISTENS;
	else if (!r.peer && (r.type != SOCK_DGRAM || !named)) /* nobody is at the other end, or can be */
		return 0;
	t = bpf_map_lookup_elem(&scratch, &zero);
	if (!t) /* the verifier cannot know that it is there */
		return 0;
	t->used = 0;
	file_of(u, &r, t);
	used = t->used;
	if (used > TEXT_BYTES) /* cannot be: one path; says so to the verifier */
		return 0;
	hold(&r, task, sk);
	r.name_bytes = named;
	r.path_bytes = used;
	bpf_seq_write(ctx->meta->seq, &r, sizeof(r));
	if (named && named <= NAME_BYTES)
		bpf_seq_write(ctx->meta->seq, name, named);
	if (used)
		bpf_seq_write(ctx->meta->seq, t->bytes, used);
	return 0;
}
