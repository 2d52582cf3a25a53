// The blocklist's packet program beside what it is measured against.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include "../../bpf-src/blocklist.bpf.c"
#include "../sender.h"

// The peers: one map, one lookup, one counter of the rule.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_RULES);
	__type(key, __be32);
	__type(value, __u64);
} plain_hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_RULES);
	__type(key, struct block_prefix4);
	__type(value, __u64);
} plain_trie SEC(".maps");

// What micro benchmarks have found, so that no lookup is left out as useless.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} sink SEC(".maps");

static __always_inline int source_of(struct xdp_md *ctx, __be32 *source)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(eth + 1);

	if ((void *)(ip + 1) > (void *)(long)ctx->data_end || eth->h_proto != bpf_htons(ETH_P_IP))
		return 0;
	*source = ip->saddr;
	return 1;
}

SEC("xdp")
int bare(struct xdp_md *ctx)
{
	return XDP_DROP;
}

SEC("xdp")
int hash(struct xdp_md *ctx)
{
	__be32 source = 0;
	__u64 *count = source_of(ctx, &source) ? bpf_map_lookup_elem(&plain_hash, &source) : 0;

	if (count)
		__sync_fetch_and_add(count, 1);
	// A clean packet is dropped too, so that the network stack has no part in what is measured.
	return XDP_DROP;
}

SEC("xdp")
int trie(struct xdp_md *ctx)
{
	struct block_prefix4 key = { .length = 32 };
	__u64 *count = source_of(ctx, &key.address) ? bpf_map_lookup_elem(&plain_trie, &key) : 0;

	if (count)
		__sync_fetch_and_add(count, 1);
	return XDP_DROP;
}

// The micro benchmarks: a lookup for each of many addresses, with nothing around it.
#define MICRO(name, ...)                                                                          \
	static int name##_step(__u32 number, void *context)                                        \
	{                                                                                          \
		__be32 address = some_address(number * 0x9e3779b1u >> 12);                         \
		__u32 zero = 0;                                                                    \
		__u64 *found = bpf_map_lookup_elem(&sink, &zero);                                  \
		if (!found)                                                                        \
			return 1;                                                                  \
		__VA_ARGS__;                                                                       \
		return 0;                                                                          \
	}                                                                                          \
	SEC("xdp")                                                                                 \
	int micro_##name(struct xdp_md *ctx)                                                       \
	{                                                                                          \
		bpf_loop(ADDRESSES, name##_step, 0, 0);                                            \
		return XDP_DROP;                                                                   \
	}

MICRO(bare, *found += address)

MICRO(hash, *found += bpf_map_lookup_elem(&plain_hash, &address) != 0)

MICRO(trie, {
	struct block_prefix4 key = { .length = 32, .address = address };
	*found += bpf_map_lookup_elem(&plain_trie, &key) != 0;
})

MICRO(blocklist, {
	struct block_config *settings = bpf_map_lookup_elem(&config, &zero);
	if (settings)
		*found += find4(settings, bpf_ntohl(address)).place != NOWHERE;
})
