/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The facts about files and their names: who changed which inode, since when, how far. What finds out that somebody did is in
 * file.bpf.c.
 */
#ifndef SPOOR_FILE_H
#define SPOOR_FILE_H

#include "lost_by.h"
#include "path.h"

/* include/uapi/linux/stat.h */
#define S_IFMT 00170000
#define S_IFREG 0100000

enum {
	FILE_LOST_FACT, /* the map of facts was full */
	FILE_LOST_NAME, /* the ring of names was full; the fact itself is kept */
	FILE_SKIPPED_WRITEBACK, /* a kernel worker wrote back what somebody had changed before: no loss, shown for the sum */
	FILE_LOSSES,
};

LOSS_MAP(FILE_LOSSES);

struct file_key {
	struct who who;
	__u64 inode;
	__u32 dev; /* s_dev: major << 20 | minor */
	__u32 generation;
};
ASSERT_SIZE(struct file_key, 32);

/* Flags of a file_fact */
#define FILE_DATA (1 << 0) /* content changed, and not just owner, mode or times */
#define FILE_UNCERTAIN (1 << 1) /* nothing seen but times that a read may have moved, too */
#define FILE_CUT (1 << 2) /* in names: the path lacks its beginning */
#define FILE_PROVEN (1 << 4) /* that content changed: a page was dirtied, or a call that changes it succeeded */
#define FILE_NAMELESS (1 << 3) /* had no name yet: a new inode is dirty before it is linked */

struct file_fact {
	__u64 first; /* ns since boot */
	__u64 last;
	__u64 size_before;
	__u64 size_after;
	__u64 cgroup_id;
	__u32 changes; /* jiffies in which the inode was marked dirty, per CPU */
	__u32 flags;
	__u32 mnt_ns;
	__u32 links;
	__u64 mtime; /* Unix time in ns, the latest of the changes that only times tell of */
};
ASSERT_SIZE(struct file_fact, 64);

/*
 * The facts since the agent last read. It puts an empty map in and empties the one it took out; the kernel waits with
 * that until no program uses the old one. The agent sets the size. A fact that finds no room is counted.
 */
struct file_facts {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, struct file_key);
	__type(value, struct file_fact);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct file_facts);
} facts SEC(".maps");

/* A map inside a map leaves its types out of the BTF that bpf2go reads, unless something else names them. */
const struct file_key *unused_file_key __attribute__((unused));
const struct file_fact *unused_file_fact __attribute__((unused));

/* How often the agent swapped the maps: what programs remember of an earlier map does not count. Written by the agent. */
volatile __u32 window;

/* How many facts were touched since the agent started: lets it leave an idle map alone. */
volatile __u64 touched;

/* One component of a path a NUL-terminated string, leaf first, behind this head. */
struct file_name {
	__u64 inode;
	__u32 dev;
	__u32 generation;
	__u32 bytes;
	__u32 flags;
};
ASSERT_SIZE(struct file_name, 24);

/* Names for the agent, which empties it when it reads facts. When it is full the name is lost and counted. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} name_ring SEC(".maps");

struct name_scratch {
	struct file_name name;
	struct text text;
};

/*
 * Where a name is put together: too large for the stack. One for each program on each CPU, since those on functions may be
 * preempted, while the kernel never runs one program twice at a time on one CPU; never full.
 */
enum {
	SCRATCH_DIRTY,
	SCRATCH_ALLOCATED,
	SCRATCH_CLONED,
	SCRATCH_COPIED,
	SCRATCH_RESIZED,
	SCRATCH_DIRECT,
	SCRATCH_TIMED,
	SCRATCH_WRITTEN,
	SCRATCHES,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCRATCHES);
	__type(key, __u32);
	__type(value, struct name_scratch);
} name_scratch SEC(".maps");

/*
 * Sends the path of inode within its file system: user space knows where that is mounted. False when the inode has no
 * name: it is new and not linked yet, or will never be, as with O_TMPFILE.
 */
static __noinline bool send_name(struct inode *inode, const struct file_key *key, __u32 scratch)
{
	struct hlist_node *alias = inode->i_dentry.first;
	struct name_scratch *s;
	struct dentry *dentry;
	__u32 used;

	s = bpf_map_lookup_elem(&name_scratch, &scratch);
	if (!alias)
		return false;
	if (!s || !key) /* cannot be: every program has one */
		return true;
	s->name.inode = key->inode;
	s->name.dev = key->dev;
	s->name.generation = key->generation;
	s->name.flags = 0;
	s->text.used = 0;
	dentry = (void *)alias - bpf_core_field_offset(struct dentry, d_u.d_alias);
	if (!append_path(&s->text, dentry, NULL))
		s->name.flags |= FILE_CUT;
	used = s->text.used;
	s->name.bytes = used;
	if (used > TEXT_BYTES) /* cannot be: one path; says so to the verifier */
		return true;
	if (bpf_ringbuf_output(&name_ring, s, offsetof(struct name_scratch, text.bytes) + used, BPF_RB_NO_WAKEUP))
		count_loss(&losses, FILE_LOST_NAME);
	return true;
}

/* The current process changed inode; mtime is the time that it moved the file to, where only times tell of the change. */
static __noinline int record_write(struct inode *inode, __u32 flags, __u64 mtime, __u32 scratch)
{
	struct file_fact *fact, fresh;
	struct file_key key;
	__u64 cgroup_id;
	__u32 zero = 0;
	void *map;

	if (!inode)
		return 0;
	map = bpf_map_lookup_elem(&facts, &zero);
	if (!map) /* not filled yet: the agent attaches after it filled it */
		return 0;
	__sync_fetch_and_add(&touched, 1);
	current_who(&key.who, &cgroup_id);
	key.inode = inode->i_ino;
	key.dev = inode->i_sb->s_dev;
	key.generation = inode->i_generation;

	fact = bpf_map_lookup_elem(map, &key);
	if (!fact) {
		fresh.first = bpf_ktime_get_boot_ns();
		fresh.last = fresh.first;
		fresh.size_before = inode->i_size;
		fresh.size_after = fresh.size_before;
		fresh.cgroup_id = cgroup_id;
		fresh.changes = 1;
		fresh.flags = flags | (send_name(inode, &key, scratch) ? 0 : FILE_NAMELESS);
		fresh.mnt_ns = current_mnt_ns();
		fresh.links = inode->i_nlink;
		fresh.mtime = mtime;
		if (!bpf_map_update_elem(map, &key, &fresh, BPF_NOEXIST))
			return 0;
		fact = bpf_map_lookup_elem(map, &key);
		if (!fact) { /* full; had another CPU been first, it were there now */
			lose(&losses, FILE_LOST_FACT, fresh.cgroup_id);
			return 0;
		}
	}
	if (fact->flags & FILE_NAMELESS && send_name(inode, &key, scratch))
		fact->flags &= ~FILE_NAMELESS;
	fact->last = bpf_ktime_get_boot_ns();
	fact->size_after = inode->i_size;
	fact->links = inode->i_nlink;
	if (mtime > fact->mtime)
		fact->mtime = mtime;
	if (!(flags & FILE_UNCERTAIN))
		fact->flags = (fact->flags | flags) & ~FILE_UNCERTAIN;
	__sync_fetch_and_add(&fact->changes, 1);
	return 0;
}

#endif
