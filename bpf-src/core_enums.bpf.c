// Values of the kernel's enumerations, which move when one is added in their middle.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_core_read.h>

char _license[] SEC("license") = "GPL";

// The numbers are not the kernel's.
enum bpf_cgroup_iter_order {
	BPF_CGROUP_ITER_SELF_ONLY = 100,
	BPF_CGROUP_ITER_ANCESTORS_UP = 101,
	BPF_CGROUP_ITER_NO_SUCH = 102,
};

#if __clang_major__ >= 15
// Older compilers do not tell values of 64 bits.
enum xdpload_wide___none {
	XDPLOAD_WIDE = 0x1234567890,
};
#endif

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} answers SEC(".maps");

static __always_inline void answer(__u32 index, __u64 value)
{
	bpf_map_update_elem(&answers, &index, &value, 0);
}

SEC("xdp")
int look(struct xdp_md *ctx)
{
	answer(0, bpf_core_enum_value(enum bpf_cgroup_iter_order, BPF_CGROUP_ITER_ANCESTORS_UP));
	answer(1, bpf_core_enum_value_exists(enum bpf_cgroup_iter_order, BPF_CGROUP_ITER_SELF_ONLY));
	answer(2, bpf_core_enum_value_exists(enum bpf_cgroup_iter_order, BPF_CGROUP_ITER_NO_SUCH));
#if __clang_major__ >= 15
	if (bpf_core_enum_value_exists(enum xdpload_wide___none, XDPLOAD_WIDE))
		answer(3, bpf_core_enum_value(enum xdpload_wide___none, XDPLOAD_WIDE));
#endif
	return XDP_PASS;
}
