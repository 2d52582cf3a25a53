// Programs of other types beside the one for XDP, with maps and a function that they share.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 4);
} calls SEC(".maps");

static __noinline void count(__u32 slot)
{
	__u64 *calls_of_slot = bpf_map_lookup_elem(&calls, &slot);

	if (calls_of_slot)
		__sync_fetch_and_add(calls_of_slot, 1);
}

SEC("tc")
int of_tc(void *ctx)
{
	count(0);
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_getpid")
int of_a_tracepoint(void *ctx)
{
	count(1);
	return 0;
}

SEC("kprobe/do_nanosleep")
int of_a_probe(void *ctx)
{
	count(2);
	return 0;
}

SEC("xdp")
int of_xdp(struct xdp_md *ctx)
{
	count(3);
	return XDP_PASS;
}
