//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Read-back: who opens a file for reading that another cgroup wrote.
 *
 *   security_file_open   a file is opened, by open, execve or io_uring; one look-up for most of them
 *
 * Which files were written the agent says. What is opened for writing is remembered here as well, until the agent knows
 * whether it was written: a service may write its state when it is stopped, and read it when it is started at once.
 */
#include "compat.h"
#include "storage.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* include/uapi/linux/stat.h */
#define S_IFMT 00170000
#define S_IFREG 0100000

/* include/linux/fs.h, include/uapi/asm-generic/fcntl.h */
#define FMODE_READ 0x1
#define FMODE_WRITE 0x2
#define O_TRUNC 01000

enum {
	READBACK_LOST_FILE, /* the map of written files was full: what was written just now may be read unseen */
	READBACK_LOST_READ, /* the map of readings was full */
	READBACK_LOSSES,
};

LOSS_MAP(READBACK_LOSSES);

struct readback_file {
	__u64 inode;
	__u32 dev; /* s_dev: major << 20 | minor */
	__u32 generation;
};
ASSERT_SIZE(struct readback_file, 16);

struct readback_writer {
	__u64 cgroup_id; /* who wrote it, or opened it for that, last */
	__u64 opened; /* ns since boot, when it was opened for writing: 0 when the agent knows that it was written */
};
ASSERT_SIZE(struct readback_writer, 16);

/*
 * The agent puts files in and takes them out, also those that were opened for writing and not written. It keeps to half of
 * the room. What finds it full is counted.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct readback_file);
	__type(value, struct readback_writer);
} written SEC(".maps");

/* How many files were put into written from here: lets the agent leave them alone while there are none. */
volatile __u64 added;

struct readback_key {
	struct readback_file file;
	__u64 cgroup_id;
};
ASSERT_SIZE(struct readback_key, 24);

struct readback_fact {
	struct who who; /* the first of them */
	__u64 first; /* ns since boot */
	__u64 last;
	__u32 opens;
	__u32 mnt_ns;
};
ASSERT_SIZE(struct readback_fact, 40);

/* One for each file and reading cgroup; the agent empties it twice a second. What finds it full is counted. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct readback_key);
	__type(value, struct readback_fact);
} readings SEC(".maps");

/* How many readings there were: lets the agent leave an idle map alone. */
volatile __u64 touched;

struct file___mode {
	unsigned int f_mode;
	unsigned int f_flags;
} __attribute__((preserve_access_index));

static __noinline int record_read(struct readback_file *file, __u64 cgroup_id)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct readback_fact *fact, fresh = {};
	struct readback_key key = {};

	if (!file)
		return 0;
	key.file = *file;
	key.cgroup_id = cgroup_id;
	__sync_fetch_and_add(&touched, 1);
	fact = bpf_map_lookup_elem(&readings, &key);
	if (fact) {
		fact->last = bpf_ktime_get_boot_ns();
		__sync_fetch_and_add(&fact->opens, 1);
		return 0;
	}
	who_is(task, &fresh.who);
	fresh.first = bpf_ktime_get_boot_ns();
	fresh.last = fresh.first;
	fresh.opens = 1;
	fresh.mnt_ns = BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);
	if (bpf_map_update_elem(&readings, &key, &fresh, BPF_NOEXIST) && !bpf_map_lookup_elem(&readings, &key))
		count_loss(&losses, READBACK_LOST_READ); /* full; had another CPU been first, it were there now */
	return 0;
}

SEC("fentry/security_file_open")
int BPF_PROG(readback_open, struct file *file)
{
	struct file___mode *how = (void *)file;
	struct readback_writer *writer, fresh = {};
	struct inode *inode = file->f_inode;
	struct readback_file key = {};
	__u32 mode = how->f_mode;
	__u64 cgroup_id;

	if ((inode->i_mode & S_IFMT) != S_IFREG)
		return 0;
	key.inode = inode->i_ino;
	key.dev = inode->i_sb->s_dev;
	key.generation = inode->i_generation;
	writer = bpf_map_lookup_elem(&written, &key);
	if (!writer && !(mode & FMODE_WRITE))
		return 0;
	cgroup_id = current_cgroup();
	if (writer) {
		if (writer->cgroup_id == cgroup_id)
			return 0;
		if (mode & FMODE_READ && !(how->f_flags & O_TRUNC))
			record_read(&key, cgroup_id);
		if (mode & FMODE_WRITE)
			writer->cgroup_id = cgroup_id;
		return 0;
	}
	if (!is_storage(inode))
		return 0;
	fresh.cgroup_id = cgroup_id;
	fresh.opened = bpf_ktime_get_boot_ns();
	if (!bpf_map_update_elem(&written, &key, &fresh, BPF_NOEXIST))
		__sync_fetch_and_add(&added, 1);
	else if (!bpf_map_lookup_elem(&written, &key))
		count_loss(&losses, READBACK_LOST_FILE);
	return 0;
}
