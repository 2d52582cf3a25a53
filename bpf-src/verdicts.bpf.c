// Each verdict in turn: the action comes from a map, so that one load shows them all.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>
#include <linux/if_ether.h>

char _license[] SEC("license") = "Dual MIT/GPL";

enum {
	ENTRY_ACTION = 0, // an enum xdp_action; a new array holds 0, which is XDP_ABORTED
	ENTRY_IFINDEX = 1, // the interface that XDP_REDIRECT sends to
	ENTRIES = 2,
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ENTRIES);
	__type(key, __u32);
	__type(value, __u32);
} verdict SEC(".maps");

// A frame that goes back must carry the peer's address as its destination, or the peer's
// network card ignores it.
static __always_inline int send_back(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	__u8 address[ETH_ALEN];

	if ((void *)(eth + 1) > data_end)
		return XDP_PASS;
	__builtin_memcpy(address, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, address, ETH_ALEN);
	return XDP_TX;
}

SEC("xdp")
int xdp_verdict(struct xdp_md *ctx)
{
	__u32 key = ENTRY_ACTION;
	__u32 *action = bpf_map_lookup_elem(&verdict, &key);
	__u32 *ifindex;

	// An array has all its entries, but the verifier does not count on it.
	if (!action)
		return XDP_PASS;

	switch (*action) {
	case XDP_ABORTED:
		return XDP_ABORTED;
	case XDP_DROP:
		return XDP_DROP;
	case XDP_TX:
		return send_back(ctx);
	case XDP_REDIRECT:
		key = ENTRY_IFINDEX;
		ifindex = bpf_map_lookup_elem(&verdict, &key);
		return ifindex ? bpf_redirect(*ifindex, 0) : XDP_PASS;
	default:
		return XDP_PASS;
	}
}
