// A map in the dialect from before BTF and one in BTF's, in one object, as some linkers make them.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>
#include <bpf/legacy_maps.h>

char _license[] SEC("license") = "Dual MIT/GPL";

struct libbpf_map_def packets SEC("maps") = {
	.type = BPF_MAP_TYPE_ARRAY,
	.key_size = sizeof(__u32),
	.value_size = sizeof(__u64),
	.max_entries = 1,
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 2);
} bytes SEC(".maps");

SEC("xdp")
int count(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u64 *value = bpf_map_lookup_elem(&packets, &key);

	if (value)
		__sync_fetch_and_add(value, 1);
	value = bpf_map_lookup_elem(&bytes, &key);
	if (value)
		__sync_fetch_and_add(value, ctx->data_end - ctx->data);
	return XDP_PASS;
}
