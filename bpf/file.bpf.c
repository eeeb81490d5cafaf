//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * File writes: which process changed which inode, since when, how far.
 *
 *   writeback_mark_inode_dirty   an inode's content, size, owner, mode or times changed, in the context of the process
 *                                that changed it, whatever the way in: write, mmap, io_uring, splice, truncate
 *
 * The hook runs at most once per timestamp tick for overwrites, but for every append on ext4, so what it does again and
 * again must cost a few nanoseconds: a per-CPU memory of the last few (process, inode) pairs ends it there until the
 * next jiffy. Facts are kept in a map keyed by what they are about; the agent swaps that map for an empty one when
 * it reads. The ring only carries names.
 */
#include "spoor.h"
#include "compat.h"
#include "path.h"
#include "turn.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* include/uapi/linux/stat.h */
#define S_IFMT 00170000
#define S_IFREG 0100000

/* include/linux/fs.h since 6.13: the top bit of i_ctime_nsec says that somebody has asked for the time */
#define I_CTIME_QUERIED (1U << 31)

/* include/linux/fs.h: a mount that only the kernel uses (memfd, SysV shm) */
#define SB_KERNMOUNT (1 << 22)

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
#define FILE_PAGES (1 << 4) /* seen by a page that was dirtied, which needs no further proof */
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

/* How often the agent swapped the maps: what was remembered of an earlier map does not count. Written by the agent. */
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

/* Where a name is put together: too large for the stack. One a CPU, never full. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct name_scratch);
} name_scratch SEC(".maps");

/* What this CPU did last; see the head of this file. */
#define RECENT 16

struct recent {
	__u64 jiffy;
	__u64 inode; /* address: the object, not its number */
	__u64 number;
	__u32 tgid;
	__u32 exec_count;
	__u32 window;
	__u32 flags;
	__u64 size; /* the agent reads it: a fact's size is that of the jiffy's first change */
};

/* Direct-mapped by the inode's address; an entry is overwritten by the next that falls on it, which only costs time. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, RECENT);
	__type(key, __u32);
	__type(value, struct recent);
} recent SEC(".maps");

/* Before 6.11 the times were whole timespecs, before 6.7 without underscores. */
struct inode___timespec {
	struct timespec64 i_atime;
	struct timespec64 i_mtime;
	struct timespec64 i_ctime;
	struct timespec64 __i_atime;
	struct timespec64 __i_mtime;
	struct timespec64 __i_ctime;
} __attribute__((preserve_access_index));

#define TIME_NS(sec, nsec) ((__u64)(sec) * 1000000000 + (nsec))

static __always_inline __u64 atime_of(struct inode *inode)
{
	struct inode___timespec *old = (void *)inode;

	if (bpf_core_field_exists(inode->i_atime_sec))
		return TIME_NS(BPF_CORE_READ(inode, i_atime_sec), BPF_CORE_READ(inode, i_atime_nsec));
	if (bpf_core_field_exists(old->__i_atime))
		return TIME_NS(BPF_CORE_READ(old, __i_atime.tv_sec), BPF_CORE_READ(old, __i_atime.tv_nsec));
	return TIME_NS(BPF_CORE_READ(old, i_atime.tv_sec), BPF_CORE_READ(old, i_atime.tv_nsec));
}

static __always_inline __u64 mtime_of(struct inode *inode)
{
	struct inode___timespec *old = (void *)inode;

	if (bpf_core_field_exists(inode->i_mtime_sec))
		return TIME_NS(BPF_CORE_READ(inode, i_mtime_sec), BPF_CORE_READ(inode, i_mtime_nsec));
	if (bpf_core_field_exists(old->__i_mtime))
		return TIME_NS(BPF_CORE_READ(old, __i_mtime.tv_sec), BPF_CORE_READ(old, __i_mtime.tv_nsec));
	return TIME_NS(BPF_CORE_READ(old, i_mtime.tv_sec), BPF_CORE_READ(old, i_mtime.tv_nsec));
}

static __always_inline __u64 ctime_of(struct inode *inode)
{
	struct inode___timespec *old = (void *)inode;

	if (bpf_core_field_exists(inode->i_ctime_sec))
		return TIME_NS(BPF_CORE_READ(inode, i_ctime_sec),
			       BPF_CORE_READ(inode, i_ctime_nsec) & ~I_CTIME_QUERIED);
	if (bpf_core_field_exists(old->__i_ctime))
		return TIME_NS(BPF_CORE_READ(old, __i_ctime.tv_sec), BPF_CORE_READ(old, __i_ctime.tv_nsec));
	return TIME_NS(BPF_CORE_READ(old, i_ctime.tv_sec), BPF_CORE_READ(old, i_ctime.tv_nsec));
}

/*
 * A page was dirtied, and nothing else: the one call of the hook that proves a change of content by itself. Changes of size,
 * owner and mode come with all flags set, times with I_DIRTY_SYNC alone. See kernel.h for the numbers.
 */
static __always_inline bool only_pages(int dirty)
{
	int sync = 1 << 0, pages = 1 << 2;

	if (bpf_core_enum_value_exists(enum inode_state_flags_t, I_DIRTY_PAGES)) {
		sync = bpf_core_enum_value(enum inode_state_flags_t, I_DIRTY_SYNC);
		pages = bpf_core_enum_value(enum inode_state_flags_t, I_DIRTY_PAGES);
	} else if (!(dirty & 7)) { /* 6.12 and later */
		sync <<= 3;
		pages <<= 3;
	}
	return dirty & pages && !(dirty & sync);
}

/*
 * Sends the path of inode within its file system: user space knows where that is mounted. False when the inode has no
 * name: it is new and not linked yet, or will never be, as with O_TMPFILE.
 */
static __noinline bool send_name(struct inode *inode, const struct file_key *key)
{
	struct hlist_node *alias = BPF_CORE_READ(inode, i_dentry.first);
	struct name_scratch *s;
	struct dentry *dentry;
	__u32 zero = 0, used;

	s = bpf_map_lookup_elem(&name_scratch, &zero);
	if (!alias)
		return false;
	if (!s || !key) /* cannot be: an array of one */
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

/* The rest of the hook, once a jiffy for each process and inode. */
static __noinline int record_write(struct inode *inode, __u32 flags, __u64 mtime)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct file_fact *fact, fresh;
	struct file_key key;
	__u32 zero = 0;
	void *map;

	if (!inode)
		return 0;
	map = bpf_map_lookup_elem(&facts, &zero);
	if (!map) /* not filled yet: the agent attaches after it filled it */
		return 0;
	__sync_fetch_and_add(&touched, 1);
	who_is(task, &key.who);
	key.inode = BPF_CORE_READ(inode, i_ino);
	key.dev = BPF_CORE_READ(inode, i_sb, s_dev);
	key.generation = BPF_CORE_READ(inode, i_generation);

	fact = bpf_map_lookup_elem(map, &key);
	if (!fact) {
		fresh.first = bpf_ktime_get_boot_ns();
		fresh.last = fresh.first;
		fresh.size_before = BPF_CORE_READ(inode, i_size);
		fresh.size_after = fresh.size_before;
		fresh.cgroup_id = cgroup_of(task);
		fresh.changes = 1;
		fresh.flags = flags | (send_name(inode, &key) ? 0 : FILE_NAMELESS);
		fresh.mnt_ns = BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);
		fresh.links = BPF_CORE_READ(inode, i_nlink);
		fresh.mtime = mtime;
		if (!bpf_map_update_elem(map, &key, &fresh, BPF_NOEXIST))
			return 0;
		fact = bpf_map_lookup_elem(map, &key);
		if (!fact) { /* full; had another CPU been first, it were there now */
			count_loss(&losses, FILE_LOST_FACT);
			return 0;
		}
	}
	if (fact->flags & FILE_NAMELESS && send_name(inode, &key))
		fact->flags &= ~FILE_NAMELESS;
	fact->last = bpf_ktime_get_boot_ns();
	fact->size_after = BPF_CORE_READ(inode, i_size);
	fact->links = BPF_CORE_READ(inode, i_nlink);
	if (mtime > fact->mtime)
		fact->mtime = mtime;
	if (!(flags & FILE_UNCERTAIN))
		fact->flags = (fact->flags | flags) & ~FILE_UNCERTAIN;
	__sync_fetch_and_add(&fact->changes, 1);
	return 0;
}

SEC("tp_btf/writeback_mark_inode_dirty")
int BPF_PROG(file_dirty, struct inode *inode, int dirty)
{
	__u64 jiffy = bpf_jiffies64();
	__u32 slot = ((__u64)inode >> 7) & (RECENT - 1);
	__u32 tgid, exec_count, task_flags, flags = 0;
	__u64 mtime = 0;
	struct recent *r;

	current_image(&tgid, &exec_count, &task_flags);
	if (only_pages(dirty))
		flags = FILE_DATA | FILE_PAGES;
	r = bpf_map_lookup_elem(&recent, &slot);
	if (!r) /* cannot be: slot is in range */
		return 0;
	if (r->jiffy == jiffy && r->inode == (__u64)inode && r->number == inode->i_ino && r->tgid == tgid &&
	    r->exec_count == exec_count && r->window == window && (r->flags & flags) == flags) {
		r->size = inode->i_size;
		return 0;
	}
	if (!my_turn())
		return 0;

	if ((inode->i_mode & S_IFMT) != S_IFREG || inode->i_sb->s_flags & SB_KERNMOUNT)
		return 0;
	if (!inode->i_count
		     .counter) /* being evicted after its last name and descriptor went: nobody changes it any more */
		return 0;
	if (task_flags & PF_WQ_WORKER) {
		count_loss(&losses, FILE_SKIPPED_WRITEBACK);
		return 0;
	}
	if (!flags) {
		__u64 atime = atime_of(inode), ctime = ctime_of(inode);

		/* Whoever changes an inode moves ctime to now, content mtime with it; reading moves atime alone. */
		if (atime > ctime)
			return 0;
		if (atime == ctime)
			flags = FILE_UNCERTAIN;
		else if (mtime_of(inode) == ctime)
			flags = FILE_DATA;
		/*
		 * fsync(2) by another process marks the inode, too, long after the times were moved: user space, which knows
		 * what time it is, looks whether mtime is of now.
		 */
		if (flags == FILE_DATA)
			mtime = ctime;
	}
	if (!(r->jiffy == jiffy && r->inode == (__u64)inode && r->tgid == tgid && r->window == window))
		r->flags = 0;
	r->jiffy = jiffy;
	r->inode = (__u64)inode;
	r->number = inode->i_ino;
	r->tgid = tgid;
	r->exec_count = exec_count;
	r->window = window;
	r->flags |= flags;
	r->size = inode->i_size;
	return record_write(inode, flags, mtime);
}
