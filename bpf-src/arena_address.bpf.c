// An arena with variables that has its address from the source, so that pointers in it mean the same to user space.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 2);
	__ulong(map_extra, 1ull << 44);
} arena SEC(".maps");

#if defined(__BPF_FEATURE_ADDR_SPACE_CAST)
#define __arena __attribute__((address_space(1)))
#else
#define __arena
#endif

int __arena verdict = XDP_PASS;
int __arena unset;

SEC("xdp")
int judge(struct xdp_md *ctx)
{
#if defined(__BPF_FEATURE_ADDR_SPACE_CAST)
	// The kernel knows the arena of a program by the program's reference to it.
	asm volatile("" ::"r"(&arena));
#endif
	return unset ? XDP_DROP : verdict;
}
