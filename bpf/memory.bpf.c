//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Shared memory: who has what mapped.
 *
 *   iter/task_vma   every shared, writable mapping of memory that is a file of tmpfs inside the kernel: POSIX and SysV shared
 *                   memory, memfds, and anonymous memory that was shared across fork
 *
 * The kernel keeps this state; it is read now and then and costs nothing in between.
 */
#include "spoor.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* include/linux/mm.h */
#define VM_WRITE 0x2
#define VM_SHARED 0x8

/* include/uapi/linux/magic.h */
#define TMPFS_MAGIC 0x01021994
#define HUGETLBFS_MAGIC 0x958458f6

struct vm_area_struct {
	unsigned long vm_start;
	unsigned long vm_end;
	unsigned long vm_flags;
	struct file *vm_file;
} __attribute__((preserve_access_index));

struct bpf_iter__task_vma {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	struct vm_area_struct *vma;
} __attribute__((preserve_access_index));

struct mapping_record {
	struct who who;
	__u64 cgroup_id;
	__u64 inode;
	__u64 bytes;
	__u32 dev;
	__u32 generation;
	char name[64]; /* of the file; cut when longer */
};
ASSERT_SIZE(struct mapping_record, 112);

/* A type that only lives on the stack is left out of the BTF that bpf2go reads. */
const struct mapping_record *unused_mapping_record __attribute__((unused));

SEC("iter/task_vma")
int memory_mapped(struct bpf_iter__task_vma *ctx)
{
	struct task_struct *task = ctx->task;
	struct vm_area_struct *vma = ctx->vma;
	struct mapping_record r = {};
	struct inode *inode;
	unsigned long magic;
	struct file *file;

	if (!task || !vma || task->pid != task->tgid)
		return 0;
	if ((vma->vm_flags & (VM_SHARED | VM_WRITE)) != (VM_SHARED | VM_WRITE))
		return 0;
	file = vma->vm_file;
	if (!file)
		return 0;
	inode = BPF_CORE_READ(file, f_inode);
	magic = BPF_CORE_READ(inode, i_sb, s_magic);
	if (magic != TMPFS_MAGIC && magic != HUGETLBFS_MAGIC)
		return 0;
	who_is(task, &r.who);
	r.cgroup_id = cgroup_of(task);
	r.inode = BPF_CORE_READ(inode, i_ino);
	r.dev = BPF_CORE_READ(inode, i_sb, s_dev);
	r.generation = BPF_CORE_READ(inode, i_generation);
	r.bytes = vma->vm_end - vma->vm_start;
	bpf_probe_read_kernel_str(r.name, sizeof(r.name), BPF_CORE_READ(file, f_path.dentry, d_name.name));
	bpf_seq_write(ctx->meta->seq, &r, sizeof(r));
	return 0;
}
