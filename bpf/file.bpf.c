//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * File writes: which process changed which inode.
 *
 *   writeback_mark_inode_dirty   an inode's content, size, owner, mode or times changed, in the context of the process
 *                                that changed it, whatever the way in: write, mmap, io_uring, splice, truncate
 *
 * The hook runs at most once per timestamp tick for overwrites, but for every append on ext4, so what it does again and
 * again must cost a few nanoseconds: a per-CPU memory of the last few (process, inode) pairs ends it there until the
 * next jiffy. Facts are kept in a map keyed by what they are about; the agent swaps that map for an empty one when
 * it reads. The ring only carries names.
 *
 * Some file systems make some changes without marking the inode dirty. Where the kernel lets programs be attached to its functions,
 * these see them, in the full tier:
 *
 *   vfs_fallocate                              blocks were allocated, or made holes
 *   vfs_clone_file_range, vfs_copy_file_range  a file got another one's content
 *   notify_change                              the size was set
 *   __iomap_dio_rw                             a write past the page cache
 *   xfs_vn_update_time                         xfs moves the times of a file, at most once per tick; the first sign of a write to
 *                                              a page that somebody else made dirty
 *   btrfs_file_write_iter                      a write; btrfs gives no other sign of that
 */
#include "compat.h"
#include "file.h"
#include "storage.h"
#include "turn.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

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

static __always_inline bool is_recent(struct recent *r, __u64 jiffy, struct inode *inode, __u32 tgid, __u32 exec_count)
{
	return r->jiffy == jiffy && r->inode == (__u64)inode && r->number == inode->i_ino && r->tgid == tgid &&
	       r->exec_count == exec_count && r->window == window;
}

static __always_inline void remember(struct recent *r, __u64 jiffy, struct inode *inode, __u32 tgid, __u32 exec_count)
{
	r->jiffy = jiffy;
	r->inode = (__u64)inode;
	r->number = inode->i_ino;
	r->tgid = tgid;
	r->exec_count = exec_count;
	r->window = window;
}

/* Before 6.11 the times were whole timespecs, before 6.7 without underscores. */
struct inode___timespec {
	struct timespec64 i_atime;
	struct timespec64 i_mtime;
	struct timespec64 i_ctime;
	struct timespec64 __i_atime;
	struct timespec64 __i_mtime;
	struct timespec64 __i_ctime;
} __attribute__((preserve_access_index));

/* Since 6.13 the top bit of i_ctime_nsec says that somebody has asked for the time */
#define I_CTIME_QUERIED (1U << 31)

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

SEC("tp_btf/writeback_mark_inode_dirty")
int BPF_PROG(file_dirty, struct inode *inode, int dirty)
{
	__u64 jiffy = bpf_jiffies64();
	__u32 slot = ((__u64)inode >> 7) & (RECENT - 1);
	__u32 tgid, exec_count, task_flags, flags = 0;
	__u64 mtime = 0;
	struct recent *r;
	bool again;

	current_image(&tgid, &exec_count, &task_flags);
	if (only_pages(dirty))
		flags = FILE_DATA | FILE_PROVEN;
	r = bpf_map_lookup_elem(&recent, &slot);
	if (!r) /* cannot be: slot is in range */
		return 0;
	again = is_recent(r, jiffy, inode, tgid, exec_count);
	if (again && (r->flags & flags) == flags) {
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
	if (!again)
		r->flags = 0;
	remember(r, jiffy, inode, tgid, exec_count);
	r->flags |= flags;
	r->size = inode->i_size;
	return record_write(inode, flags, mtime, SCRATCH_DIRTY);
}

/* The current process changed the content of inode, which the call that it made proves. */
static __always_inline int changed(struct inode *inode, __u32 scratch)
{
	__u32 tgid, exec_count, task_flags;

	if (!inode || (inode->i_mode & S_IFMT) != S_IFREG || !is_storage(inode) || !my_turn())
		return 0;
	current_image(&tgid, &exec_count, &task_flags);
	if (task_flags & PF_WQ_WORKER) {
		count_loss(&losses, FILE_SKIPPED_WRITEBACK);
		return 0;
	}
	return record_write(inode, FILE_DATA | FILE_PROVEN, 0, scratch);
}

SEC("fexit/vfs_fallocate")
int BPF_PROG(file_allocated, struct file *file, int mode, __s64 offset, __s64 len, int error)
{
	return error ? 0 : changed(file->f_inode, SCRATCH_ALLOCATED);
}

SEC("fexit/vfs_clone_file_range")
int BPF_PROG(file_cloned, struct file *from, __s64 from_pos, struct file *file, __s64 pos, __s64 len, __u32 flags,
	     __s64 done)
{
	return done <= 0 ? 0 : changed(file->f_inode, SCRATCH_CLONED);
}

SEC("fexit/vfs_copy_file_range")
int BPF_PROG(file_copied, struct file *from, __s64 from_pos, struct file *file, __s64 pos, __u64 len, __u32 flags,
	     __s64 done)
{
	return done <= 0 ? 0 : changed(file->f_inode, SCRATCH_COPIED);
}

static __always_inline int resized(struct dentry *dentry, struct iattr *attr, int error)
{
	if (error || !(attr->ia_valid & ATTR_SIZE))
		return 0;
	return changed(dentry->d_inode, SCRATCH_RESIZED);
}

/* Since 5.12 there is one argument more (549c7297717c): the agent takes the program that fits. The result stands behind them. */
SEC("fexit/notify_change")
int file_resized(__u64 *ctx)
{
	return resized((struct dentry *)ctx[1], (struct iattr *)ctx[2], (int)ctx[4]);
}

SEC("fexit/notify_change")
int file_resized_unmapped(__u64 *ctx)
{
	return resized((struct dentry *)ctx[0], (struct iattr *)ctx[1], (int)ctx[3]);
}

struct kiocb {
	struct file *ki_filp;
} KERNEL_TYPE;

struct iov_iter {
	bool data_source;
} KERNEL_TYPE;

/* Before 5.14 the lowest bit of the type said it. */
struct iov_iter___type {
	unsigned int type;
} KERNEL_TYPE;

static __always_inline bool is_write(struct iov_iter *data)
{
	struct iov_iter___type *old = (void *)data;

	if (bpf_core_field_exists(data->data_source))
		return BPF_CORE_READ(data, data_source);
	return BPF_CORE_READ(old, type) & 1;
}

/* include/linux/errno.h: it goes on, and will be done later */
#define EIOCBQUEUED 529

/* Until 5.15; later kernels have more arguments than a program can be given before 6.6, and mark the inode or move its times. */
SEC("fexit/__iomap_dio_rw")
int BPF_PROG(file_direct, struct kiocb *iocb, struct iov_iter *data, void *ops, void *dops, bool wait, __s64 done)
{
	bool failed = !done || (done < 0 && done >= -4095 && done != -EIOCBQUEUED);

	return failed || !is_write(data) ? 0 : changed(iocb->ki_filp->f_inode, SCRATCH_DIRECT);
}

/* include/linux/fs.h: which times are to be moved */
#define S_MTIME 2

/* Until 6.5 the time stands between the two. */
SEC("fentry/xfs_vn_update_time")
int file_timed(__u64 *ctx)
{
	return ctx[1] & S_MTIME ? changed((struct inode *)ctx[0], SCRATCH_TIMED) : 0;
}

SEC("fentry/xfs_vn_update_time")
int file_timed_given(__u64 *ctx)
{
	return ctx[2] & S_MTIME ? changed((struct inode *)ctx[0], SCRATCH_TIMED) : 0;
}

/* As recent, for what is called once per write. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, RECENT);
	__type(key, __u32);
	__type(value, struct recent);
} recent_written SEC(".maps");

SEC("fexit/btrfs_file_write_iter")
int BPF_PROG(file_written, struct kiocb *iocb, struct iov_iter *data, __s64 done)
{
	struct inode *inode = iocb->ki_filp->f_inode;
	__u32 slot = ((__u64)inode >> 7) & (RECENT - 1), tgid, exec_count, task_flags;
	struct recent *r = bpf_map_lookup_elem(&recent_written, &slot);
	__u64 jiffy = bpf_jiffies64();

	if (!r) /* cannot be: slot is in range */
		return 0;
	current_image(&tgid, &exec_count, &task_flags);
	if (is_recent(r, jiffy, inode, tgid, exec_count))
		return 0;
	if (done <= 0 && done != -EIOCBQUEUED)
		return 0;
	remember(r, jiffy, inode, tgid, exec_count);
	return changed(inode, SCRATCH_WRITTEN);
}
