// Symbols of the kernel without a type: the program learns where they are.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

extern const void xdp_do_redirect __ksym;
extern const void bpf_prog_put __ksym __weak;
extern const void xdpload_nowhere __ksym __weak;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, __u64);
} addresses SEC(".maps");

static void put(__u32 index, __u64 address)
{
	bpf_map_update_elem(&addresses, &index, &address, 0);
}

SEC("xdp")
int look(struct xdp_md *ctx)
{
	put(0, (__u64)&xdp_do_redirect);
	put(1, (__u64)&bpf_prog_put);
	put(2, (__u64)&xdpload_nowhere);
	return XDP_PASS;
}
