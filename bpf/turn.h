/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Whose turn it is to count, while the programs of one agent take over from those of another on the same maps.
 *
 * Both sets are attached for a moment, and each event runs through both, the older first. A word for each CPU says which
 * generation counts there. The new agent writes a CPU's word on that CPU: a tracepoint's programs run with preemption
 * off, so no event is between the two sets then, and each is counted once. Without pins all words stay 0, as does the
 * generation.
 */
#ifndef SPOOR_TURN_H
#define SPOOR_TURN_H

#include "spoor.h"

/* CPUs beyond share words: what happens on one in the instant of the other's turn may be counted twice or not at all. */
#define TURN_CPUS 1024

/* Of the programs that this is loaded with. Set by the agent. */
const volatile __u32 generation;

/* Written by the agent, and by itself: the sensors of all generations share it. */
volatile __u32 turns[TURN_CPUS] SEC(".data.turns");

static __always_inline bool my_turn(void)
{
	return turns[bpf_get_smp_processor_id() & (TURN_CPUS - 1)] == generation;
}

#endif
