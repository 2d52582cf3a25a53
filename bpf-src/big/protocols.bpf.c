// A program of middle size: some 150 instructions that count packets and bytes by protocol,
// by interface and by address, behind up to two VLAN tags, and drop from what sources a map says.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/if_ether.h>
#include <linux/if_vlan.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

char _license[] SEC("license") = "Dual MIT/GPL";

struct count {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct count);
} by_protocol SEC(".maps");

// Of interfaces whose numbers have the last six bits in common.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, struct count);
} by_interface SEC(".maps");

struct by_address {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct in6_addr);
	__type(value, struct count);
};
struct by_address by_source SEC(".maps");
struct by_address by_destination SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct in6_addr);
	__type(value, __u32);
} verdicts SEC(".maps");

static __always_inline void add(struct count *count, __u64 bytes)
{
	if (!count)
		return;
	__sync_fetch_and_add(&count->packets, 1);
	__sync_fetch_and_add(&count->bytes, bytes);
}

static __always_inline void add_to(void *map, struct in6_addr *address, __u64 bytes)
{
	struct count *count = bpf_map_lookup_elem(map, address), first = {1, bytes};

	if (count)
		add(count, bytes);
	else
		bpf_map_update_elem(map, address, &first, 0);
}

SEC("xdp")
int count_and_drop(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	__u64 bytes = data_end - data;
	struct in6_addr source = {}, destination = {};
	struct ethhdr *eth = data;
	__u32 protocol, interface = ctx->ingress_ifindex % 64, *verdict;
	__be16 proto;

	if ((void *)(eth + 1) > data_end)
		return XDP_PASS;
	proto = eth->h_proto;
	data = eth + 1;
#pragma unroll
	for (int tag = 0; tag < 2; tag++) {
		struct vlan_hdr *vlan = data;

		if (proto != bpf_htons(ETH_P_8021Q) && proto != bpf_htons(ETH_P_8021AD))
			break;
		if ((void *)(vlan + 1) > data_end)
			return XDP_PASS;
		proto = vlan->h_vlan_encapsulated_proto;
		data = vlan + 1;
	}
	if (proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = data;

		if ((void *)(ip + 1) > data_end)
			return XDP_PASS;
		protocol = ip->protocol;
		source.s6_addr32[2] = bpf_htons(0xffff);
		source.s6_addr32[3] = ip->saddr;
		destination.s6_addr32[2] = bpf_htons(0xffff);
		destination.s6_addr32[3] = ip->daddr;
	} else if (proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = data;

		if ((void *)(ip + 1) > data_end)
			return XDP_PASS;
		protocol = ip->nexthdr;
		source = ip->saddr;
		destination = ip->daddr;
	} else {
		return XDP_PASS;
	}
	add(bpf_map_lookup_elem(&by_protocol, &protocol), bytes);
	add(bpf_map_lookup_elem(&by_interface, &interface), bytes);
	add_to(&by_source, &source, bytes);
	add_to(&by_destination, &destination, bytes);
	verdict = bpf_map_lookup_elem(&verdicts, &source);
	return verdict ? *verdict : XDP_PASS;
}
