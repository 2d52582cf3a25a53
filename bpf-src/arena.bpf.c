// Memory that a program and user space share, and a number that only an enumeration can hold.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

// Two pages, wherever user space has room for them.
struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 2);
} arena SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
	__uint(max_entries, 1000);
	__ulong(map_extra, 5);
	__type(value, __u32);
} filter SEC(".maps");

// Where in the arena user space has put its counter; 0 before.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} counter SEC(".maps");

#if defined(__BPF_FEATURE_ADDR_SPACE_CAST)
typedef __u64 __attribute__((address_space(1))) arena_u64;
#else
typedef __u64 arena_u64;
#endif

SEC("xdp")
int count(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u64 *place = bpf_map_lookup_elem(&counter, &key);

	if (!place || !*place)
		return XDP_PASS;
#if defined(__BPF_FEATURE_ADDR_SPACE_CAST)
	// The kernel knows the arena of a program by the program's reference to it.
	asm volatile("" ::"r"(&arena));
	*(arena_u64 *)*place += 1;
#endif
	return XDP_DROP;
}
