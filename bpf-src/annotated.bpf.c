// A map of libbpf's old dialect whose entries are described beside it, as its BPF_ANNOTATE_KV_PAIR did.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>
#include <bpf/legacy_maps.h>

char _license[] SEC("license") = "Dual MIT/GPL";

struct peer {
	__be32 address;
	__be16 port;
	__u16 protocol;
};

struct traffic {
	__u64 packets;
	__u64 bytes;
};

struct libbpf_map_def peers SEC("maps") = {
	.type = BPF_MAP_TYPE_HASH,
	.key_size = sizeof(struct peer),
	.value_size = sizeof(struct traffic),
	.max_entries = 16,
};

struct ____btf_map_peers {
	struct peer key;
	struct traffic value;
};
struct ____btf_map_peers ____btf_map_peers SEC(".maps.peers") = {};

SEC("xdp")
int count(struct xdp_md *ctx)
{
	struct peer any = {};
	struct traffic *seen = bpf_map_lookup_elem(&peers, &any);

	if (seen)
		__sync_fetch_and_add(&seen->packets, 1);
	return XDP_PASS;
}
