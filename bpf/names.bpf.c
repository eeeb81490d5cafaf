//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Names: what is made, linked, renamed and removed, and whose attributes are set, by whom, in the moment it happens.
 *
 *   d_instantiate, d_instantiate_new   a new inode gets its first name: open, mkdir, mknod, symlink, bind
 *   d_delete                           a name was removed: unlink, rmdir
 *   d_move, d_exchange                 a name was renamed, or two were exchanged
 *   vfs_link                           a file got another name
 *   notify_change                      owner, mode or times were set
 *   vfs_setxattr, vfs_removexattr, vfs_set_acl, vfs_remove_acl   so were extended attributes or access lists
 *
 * The functions of the dentry cache (d_*) are called when the file system has done what was asked for, and with the same
 * arguments since 5.10: so they need no result, and see what every way in does. The others are looked at when they
 * return. Nothing here runs for a read, a write or an open of a file that exists.
 *
 * The kernel never runs one program twice at a time on one CPU (it skips the second call and counts it), so each has a
 * scratch of its own on each CPU, although it may be preempted.
 *
 * Whose turn it is is asked last, when there is something to tell. Between the programs of two agents a task may be moved to
 * another CPU here; and what a function began before the turn and ends after it is told by neither, where only its end is
 * looked at. Both take an agent's replacement at that very moment.
 */
#include "compat.h"
#include "lost_by.h"
#include "path.h"
#include "storage.h"
#include "turn.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* include/uapi/linux/stat.h */
#define S_IFMT 00170000
#define S_IFDIR 0040000
#define S_IFCHR 0020000
#define S_IFREG 0100000

enum {
	NAMES_LOST_RECORD, /* the ring was full */
	NAMES_LOSSES,
};

LOSS_MAP(NAMES_LOSSES);

/* Operations, in the order of NameOp (agent/sensor/names_change.go) */
#define NAME_CREATED 1
#define NAME_LINKED 2
#define NAME_RENAMED 3
#define NAME_REMOVED 4
#define NAME_ATTRIBUTES 5

/* Flags of a name_record */
#define NAME_CUT (1 << 0) /* the path lacks its beginning */
#define NAME_TARGET_CUT (1 << 1)
#define NAME_NONE (1 << 2) /* there was no name before (O_TMPFILE) */
#define NAME_EXCHANGED (1 << 3) /* one of two records about two names that changed places */
#define NAME_WHITEOUT (1 << 4) /* what an overlay puts where it hides something: a device with the number 0 */

/* Behind it come the components of the path, then those of the target: each NUL-terminated, leaf first. */
struct name_record {
	struct who who;
	__u64 time; /* ns since boot */
	__u64 cgroup_id;
	__u64 inode;
	__u64 dir; /* inode number of the directory that has the name */
	__u64 target_dir;
	__u32 dev; /* s_dev: major << 20 | minor */
	__u32 generation;
	__u32 links; /* that are left */
	__u32 mnt_ns;
	__u32 path_bytes;
	__u32 target_bytes;
	__u16 mode;
	__u8 op;
	__u8 flags;
	__u32 reserved;
	char fs_type[16];
};
ASSERT_SIZE(struct name_record, 104);

/* Records for the agent, which reads it twice a second: 30,000 of a usual length. When it is full they are counted. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} name_ring SEC(".maps");

struct name_scratch {
	struct name_record record;
	struct text text;
};

/* One for each program that may be at it, on each CPU; never full. */
enum {
	SCRATCH_CREATED,
	SCRATCH_CREATED_NEW,
	SCRATCH_REMOVED,
	SCRATCH_RENAMED,
	SCRATCH_EXCHANGED,
	SCRATCH_LINKED,
	SCRATCH_ATTRIBUTES,
	SCRATCH_SETXATTR,
	SCRATCH_REMOVEXATTR,
	SCRATCH_SET_ACL,
	SCRATCH_REMOVE_ACL,
	SCRATCHES,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCRATCHES);
	__type(key, __u32);
	__type(value, struct name_scratch);
} name_scratch SEC(".maps");

/* A type that is only part of another one is left out of the BTF that bpf2go reads. */
const struct name_record *unused_name_record __attribute__((unused));

struct inode___names {
	__u32 i_rdev;
} __attribute__((preserve_access_index));

static __always_inline bool has_name(struct dentry *dentry)
{
	return dentry->d_hash.pprev;
}

/* Sends a record about inode, whose name is that of dentry. How: an operation, and flags above its byte. */
static __noinline int tell(__u32 scratch, __u32 how, struct inode *inode, struct dentry *dentry, struct dentry *target)
{
	struct name_scratch *s;
	struct super_block *sb;
	struct name_record *r;
	__u32 used;

	if (!my_turn())
		return 0;
	s = bpf_map_lookup_elem(&name_scratch, &scratch);
	if (!s) /* cannot be: every program has one */
		return 0;
	r = &s->record;
	sb = inode->i_sb;
	current_who(&r->who, &r->cgroup_id);
	r->time = bpf_ktime_get_boot_ns();
	r->inode = inode->i_ino;
	r->dir = dentry->d_parent->d_inode->i_ino;
	r->target_dir = 0;
	r->dev = sb->s_dev;
	r->generation = inode->i_generation;
	r->links = inode->i_nlink;
	r->mnt_ns = current_mnt_ns();
	r->target_bytes = 0;
	r->mode = inode->i_mode;
	r->op = how;
	r->flags = how >> 8;
	if ((r->mode & S_IFMT) == S_IFCHR && !((struct inode___names *)inode)->i_rdev)
		r->flags |= NAME_WHITEOUT;
	if (bpf_probe_read_kernel_str(r->fs_type, sizeof(r->fs_type), type_of(sb)->name) < 0)
		r->fs_type[0] = 0;

	s->text.used = 0;
	if (!(r->flags & NAME_NONE) && !append_path(&s->text, dentry, NULL))
		r->flags |= NAME_CUT;
	r->path_bytes = s->text.used;
	if (target) {
		r->target_dir = target->d_parent->d_inode->i_ino;
		if (!append_path(&s->text, target, NULL))
			r->flags |= NAME_TARGET_CUT;
		r->target_bytes = s->text.used - r->path_bytes;
	}
	used = s->text.used;
	if (used > TEXT_BYTES) /* cannot be: two paths; says so to the verifier */
		return 0;
	if (bpf_ringbuf_output(&name_ring, s, offsetof(struct name_scratch, text.bytes) + used, BPF_RB_NO_WAKEUP))
		lose(&losses, NAMES_LOST_RECORD, r->cgroup_id);
	return 0;
}

static __always_inline int created(__u32 scratch, struct dentry *dentry, struct inode *inode)
{
	/* Each socket and each pipe comes here: they end before anything costs more than a load. */
	if (!inode || inode->i_sb->s_flags & SB_KERNMOUNT)
		return 0;
	/* A link has a name already; a file without one (O_TMPFILE) has no links. */
	if (inode->i_dentry.first || !inode->i_nlink || !is_storage(inode))
		return 0;
	return tell(scratch, NAME_CREATED, inode, dentry, NULL);
}

SEC("fentry/d_instantiate")
int BPF_PROG(names_created, struct dentry *dentry, struct inode *inode)
{
	return created(SCRATCH_CREATED, dentry, inode);
}

SEC("fentry/d_instantiate_new")
int BPF_PROG(names_created_new, struct dentry *dentry, struct inode *inode)
{
	return created(SCRATCH_CREATED_NEW, dentry, inode);
}

SEC("fentry/d_delete")
int BPF_PROG(names_removed, struct dentry *dentry)
{
	struct inode *inode = dentry->d_inode;

	if (!inode || !is_storage(inode))
		return 0;
	return tell(SCRATCH_REMOVED, NAME_REMOVED, inode, dentry, NULL);
}

SEC("fentry/d_move")
int BPF_PROG(names_renamed, struct dentry *dentry, struct dentry *target)
{
	struct inode *inode = dentry->d_inode, *over = target->d_inode;

	if (!inode || !is_storage(inode))
		return 0;
	if (over)
		tell(SCRATCH_RENAMED, NAME_REMOVED, over, target, NULL);
	return tell(SCRATCH_RENAMED, NAME_RENAMED, inode, dentry, target);
}

SEC("fentry/d_exchange")
int BPF_PROG(names_exchanged, struct dentry *one, struct dentry *two)
{
	struct inode *first = one->d_inode, *second = two->d_inode;

	if (!first || !second || !is_storage(first))
		return 0;
	tell(SCRATCH_EXCHANGED, NAME_RENAMED | NAME_EXCHANGED << 8, first, one, two);
	return tell(SCRATCH_EXCHANGED, NAME_RENAMED | NAME_EXCHANGED << 8, second, two, one);
}

static __always_inline int linked(struct dentry *old, struct dentry *dentry, int error)
{
	struct inode *inode = old->d_inode;

	if (error || !inode || !is_storage(inode))
		return 0;
	return tell(SCRATCH_LINKED, NAME_LINKED | (has_name(old) ? 0 : NAME_NONE << 8), inode, old, dentry);
}

static __always_inline int attributes(__u32 scratch, struct dentry *dentry, int error)
{
	struct inode *inode = dentry->d_inode;

	if (error || !inode || !inode->i_nlink || !is_storage(inode))
		return 0;
	return tell(scratch, NAME_ATTRIBUTES, inode, dentry, NULL);
}

/* Both times are set by utimes(2) and its like, one alone along with something else. Sizes are for the file sensor. */
static __always_inline bool sets_attributes(struct iattr *attr)
{
	unsigned int valid = attr->ia_valid;

	if (valid & (ATTR_UID | ATTR_GID | ATTR_MODE))
		return true;
	return !(valid & ATTR_SIZE) && valid & (ATTR_ATIME | ATTR_MTIME);
}

/*
 * Since 5.12 the functions have the map of user ids of the mount as an argument (549c7297717c): the agent takes the
 * programs that fit. The result stands behind the arguments.
 */
#define DENTRY(n) ((struct dentry *)ctx[n])
#define IATTR(n) ((struct iattr *)ctx[n])

SEC("fexit/vfs_link")
int names_linked(__u64 *ctx)
{
	return linked(DENTRY(0), DENTRY(3), (int)ctx[5]);
}

SEC("fexit/vfs_link")
int names_linked_unmapped(__u64 *ctx)
{
	return linked(DENTRY(0), DENTRY(2), (int)ctx[4]);
}

SEC("fexit/notify_change")
int names_attributes(__u64 *ctx)
{
	return sets_attributes(IATTR(2)) ? attributes(SCRATCH_ATTRIBUTES, DENTRY(1), (int)ctx[4]) : 0;
}

SEC("fexit/notify_change")
int names_attributes_unmapped(__u64 *ctx)
{
	return sets_attributes(IATTR(1)) ? attributes(SCRATCH_ATTRIBUTES, DENTRY(0), (int)ctx[3]) : 0;
}

SEC("fexit/vfs_setxattr")
int names_setxattr(__u64 *ctx)
{
	return attributes(SCRATCH_SETXATTR, DENTRY(1), (int)ctx[6]);
}

SEC("fexit/vfs_setxattr")
int names_setxattr_unmapped(__u64 *ctx)
{
	return attributes(SCRATCH_SETXATTR, DENTRY(0), (int)ctx[5]);
}

SEC("fexit/vfs_removexattr")
int names_removexattr(__u64 *ctx)
{
	return attributes(SCRATCH_REMOVEXATTR, DENTRY(1), (int)ctx[3]);
}

SEC("fexit/vfs_removexattr")
int names_removexattr_unmapped(__u64 *ctx)
{
	return attributes(SCRATCH_REMOVEXATTR, DENTRY(0), (int)ctx[2]);
}

/* Since 6.2 access lists have functions of their own (e4cc9163140b, aeb7f00554f7). */
SEC("fexit/vfs_set_acl")
int names_set_acl(__u64 *ctx)
{
	return attributes(SCRATCH_SET_ACL, DENTRY(1), (int)ctx[4]);
}

SEC("fexit/vfs_remove_acl")
int names_remove_acl(__u64 *ctx)
{
	return attributes(SCRATCH_REMOVE_ACL, DENTRY(1), (int)ctx[3]);
}
