/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Who talks by a UDP socket: written where its process is at hand, read where it is not.
 */
#ifndef SPOOR_TALKER_H
#define SPOOR_TALKER_H

#include "spoor.h"

struct talker {
	struct who who;
	__u64 cgroup_id;
	__u64 jiffy;
	__u8 peer[16];
	__u32 net_ns; /* of the process; that of the socket differs only if it was passed across */
	__u16 peer_port;
	__u8 role; /* FLOW_*; 0 before the first datagram */
	__u8 connected; /* and nothing was seen to go either way */
};

/*
 * Deleted by the kernel with its socket; bounded by the number of sockets. No memory: counted. One for all sensors of
 * datagrams: the agent gives the first one's to the others.
 */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct talker);
} talkers SEC(".maps");

#endif
