// Types of the kernel: their numbers, sizes, whether they exist and match.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_core_read.h>

char _license[] SEC("license") = "GPL";

struct list_head {
	struct list_head *next, *prev;
} __core;

struct list_head___other {
	struct list_head *next;
	int prev;
} __core;

struct xdpload_no_such_struct {
	int a;
} __core;

typedef unsigned int gfp_t;
typedef int (*xdpload_no_such_typedef)(int);

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 10);
	__type(key, __u32);
	__type(value, __u64);
} answers SEC(".maps");

static __noinline void answer(__u32 index, __u64 value)
{
	bpf_map_update_elem(&answers, &index, &value, 0);
}

SEC("xdp")
int look(struct xdp_md *ctx)
{
	answer(0, bpf_core_type_id_local(struct list_head) != 0);
	answer(1, bpf_core_type_id_kernel(struct list_head));
	answer(2, bpf_core_type_id_kernel(struct xdpload_no_such_struct));
	answer(3, bpf_core_type_exists(struct list_head));
	answer(4, bpf_core_type_exists(gfp_t));
	answer(5, bpf_core_type_exists(xdpload_no_such_typedef));
	answer(6, bpf_core_type_size(struct list_head___other));
	answer(7, bpf_core_type_size(struct xdpload_no_such_struct));
#if __clang_major__ >= 15
	answer(8, bpf_core_type_matches(struct list_head));
	answer(9, bpf_core_type_matches(struct list_head___other));
#endif
	return XDP_PASS;
}
