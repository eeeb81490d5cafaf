/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Names of dentries, leaf first: each component with its NUL, appended to a buffer. User space turns them round. The
 * walk reads a tree that may change under it; a name that is renamed in that instant can come out as old or new.
 */
#ifndef SPOOR_PATH_H
#define SPOOR_PATH_H

#include "spoor.h"

#define NAME_MAX 255
#define PATH_DEPTH 96 /* components; a deeper path is flagged as cut */
#define PATH_BYTES 4096 /* PATH_MAX */

/*
 * Text under construction, in a map. The number of bytes used lives there too, and not in a register: what the verifier
 * reads from a map is any number to it, so the states of all rounds of the loop below look alike and it need not
 * follow each combination (measured: beyond a million instructions otherwise).
 */
#define TEXT_BYTES (3 * PATH_BYTES)
#define TEXT_SLACK 4096 /* room for one append that began below TEXT_BYTES */

struct text {
	__u32 used;
	__u32 reserved;
	char bytes[TEXT_BYTES + TEXT_SLACK];
};

/* Appends one NUL-terminated name; false when there is no room or it cannot be read. */
static __always_inline bool append_name(struct text *t, const unsigned char *name)
{
	__u32 used = t->used;
	long n;

	if (used > TEXT_BYTES)
		return false;
	n = bpf_probe_read_kernel_str(t->bytes + used, NAME_MAX + 1, name);
	if (n <= 0)
		return false;
	t->used = used + n;
	return true;
}

/*
 * Appends the components of dentry, up to the root of the mount namespace, or up to the root of the file system where
 * mnt is NULL. False when the beginning is missing.
 */
static __noinline bool append_path(struct text *t, struct dentry *dentry, struct vfsmount *mnt)
{
	struct mount *mount = NULL;
	struct dentry *root = NULL;
	__u32 limit;

	if (!t)
		return false;
	limit = t->used + PATH_BYTES;
	if (mnt) {
		mount = (void *)mnt - bpf_core_field_offset(struct mount, mnt);
		root = BPF_CORE_READ(mount, mnt.mnt_root);
	}
	for (int i = 0; i < PATH_DEPTH; i++) {
		struct dentry *parent = BPF_CORE_READ(dentry, d_parent);

		if (dentry == root || dentry == parent || !parent) {
			struct mount *above;

			/* A memfd's dentry is its own parent and no root of anything, and has a name all the same. */
			if (dentry == parent && dentry != root && mount && !i)
				return append_name(t, BPF_CORE_READ(dentry, d_name.name));
			if (!mount)
				return true;
			above = BPF_CORE_READ(mount, mnt_parent);
			if (above == mount || !above)
				return true;
			dentry = BPF_CORE_READ(mount, mnt_mountpoint);
			mount = above;
			root = BPF_CORE_READ(mount, mnt.mnt_root);
			continue;
		}
		if (t->used > limit || !append_name(t, BPF_CORE_READ(dentry, d_name.name)))
			return false;
		dentry = parent;
	}
	return false;
}

#endif
