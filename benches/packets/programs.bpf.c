// What sends packets, and the one program to drop them that is not ours to load: tc's.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <bpf/bpf_helpers.h>
#include "../sender.h"

char _license[] SEC("license") = "Dual MIT/GPL";

// TC_ACT_SHOT of linux/pkt_cls.h.
#define SHOT 2

SEC("tc")
int tc_drop(void *ctx)
{
	return SHOT;
}
