// Variables of the kernel with their types: one that each CPU has for itself, and a weak
// one that no kernel has.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

extern const int bpf_prog_active __ksym;
extern const int xdpload_nowhere __ksym __weak;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} results SEC(".maps");

SEC("xdp")
int look(struct xdp_md *ctx)
{
	__u32 zero = 0;
	__u64 seen = 0;
	const int *active = bpf_this_cpu_ptr(&bpf_prog_active);

	seen = *active;
	if (&xdpload_nowhere)
		seen += 1000;
	bpf_map_update_elem(&results, &zero, &seen, 0);
	return XDP_PASS;
}
