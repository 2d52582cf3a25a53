// Functions of the kernel: a strong one and weak ones, of which the kernel has one and
// lacks the other.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

struct bpf_dynptr {
	__u64 opaque[2];
} __attribute__((aligned(8)));

extern int bpf_dynptr_from_xdp(struct xdp_md *ctx, __u64 flags, struct bpf_dynptr *ptr) __ksym;
extern __u32 bpf_dynptr_size(const struct bpf_dynptr *ptr) __ksym __weak;
extern __u32 xdpload_nowhere(const struct bpf_dynptr *ptr) __ksym __weak;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} sizes SEC(".maps");

SEC("xdp")
int look(struct xdp_md *ctx)
{
	struct bpf_dynptr ptr;
	__u32 index = 0, size = 0;

	if (bpf_dynptr_from_xdp(ctx, 0, &ptr))
		return XDP_ABORTED;
	if (bpf_ksym_exists(bpf_dynptr_size))
		size = bpf_dynptr_size(&ptr);
	bpf_map_update_elem(&sizes, &index, &size, 0);
	index = 1;
	size = 77;
	if (bpf_ksym_exists(xdpload_nowhere))
		size = xdpload_nowhere(&ptr);
	bpf_map_update_elem(&sizes, &index, &size, 0);
	return XDP_PASS;
}
