/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Which file systems programs keep files on.
 */
#ifndef SPOOR_STORAGE_H
#define SPOOR_STORAGE_H

#include "spoor.h"

/* include/linux/fs.h */
#define SB_KERNMOUNT (1 << 22) /* a mount that only the kernel uses: pipes, sockets, memfd, SysV shm */
#define FS_REQUIRES_DEV 1

/* include/uapi/linux/magic.h */
#define TMPFS_MAGIC 0x01021994
#define RAMFS_MAGIC 0x858458f6

struct file_system_type {
	const char *name;
	int fs_flags;
} __attribute__((preserve_access_index));

struct super_block___type {
	struct file_system_type *s_type;
} __attribute__((preserve_access_index));

static __always_inline struct file_system_type *type_of(struct super_block *sb)
{
	struct super_block___type *named = (void *)sb;

	return named->s_type;
}

/* Programs keep files there: no overlay, whose upper files are seen by themselves, and nothing that the kernel makes up. */
static __always_inline bool is_storage(struct inode *inode)
{
	struct super_block *sb = inode->i_sb;
	unsigned long magic;

	if (sb->s_flags & SB_KERNMOUNT)
		return false;
	magic = sb->s_magic;
	if (magic == TMPFS_MAGIC || magic == RAMFS_MAGIC)
		return true;
	return type_of(sb)->fs_flags & FS_REQUIRES_DEV;
}

#endif
