// A timer in a per-CPU map: the kernel takes no such types for it, and no timer without.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

struct bpf_timer {
	__u64 opaque[2];
} __attribute__((aligned(8)));

struct value {
	struct bpf_timer timer;
	__u64 count;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct value);
} timers SEC(".maps");

static long (*const timer_init)(struct bpf_timer *timer, void *map, __u64 flags) = (void *)169;

SEC("xdp")
int timer_per_cpu(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct value *value = bpf_map_lookup_elem(&timers, &key);

	if (value)
		timer_init(&value->timer, &timers, 1);
	return XDP_PASS;
}
