// What the network card says of a packet. The functions that tell it work only in a program
// that is bound to the interface.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

enum xdp_rss_hash_type {
	XDP_RSS_TYPE_NONE = 0,
};

extern int bpf_xdp_metadata_rx_timestamp(const struct xdp_md *ctx, __u64 *timestamp) __ksym;
extern int bpf_xdp_metadata_rx_hash(const struct xdp_md *ctx, __u32 *hash,
				    enum xdp_rss_hash_type *type) __ksym;
extern int bpf_xdp_metadata_rx_vlan_tag(const struct xdp_md *ctx, __be16 *protocol,
					__u16 *tag) __ksym __weak;

struct said {
	__u64 packets;
	__u64 timestamp;
	__u32 hash;
	__s32 timestamp_error;
	__s32 hash_error;
	__s32 vlan_error;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct said);
} last SEC(".maps");

SEC("xdp")
int look(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct said *said = bpf_map_lookup_elem(&last, &zero);
	enum xdp_rss_hash_type type = 0;
	__be16 protocol = 0;
	__u16 tag = 0;

	if (!said)
		return XDP_ABORTED;
	said->packets++;
	said->timestamp_error = bpf_xdp_metadata_rx_timestamp(ctx, &said->timestamp);
	said->hash_error = bpf_xdp_metadata_rx_hash(ctx, &said->hash, &type);
	if (bpf_ksym_exists(bpf_xdp_metadata_rx_vlan_tag))
		said->vlan_error = bpf_xdp_metadata_rx_vlan_tag(ctx, &protocol, &tag);
	return XDP_PASS;
}
