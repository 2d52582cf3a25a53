// What sends the packets of a measurement: live frames, each from a random one of many addresses.
// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#define ADDRESSES (1 << 20)

// Where packets come from, in network order.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ADDRESSES);
	__type(key, __u32);
	__type(value, __be32);
} addresses SEC(".maps");

// Where they go to: the index of an interface, and how many of the addresses take part.
struct outlet {
	__u32 interface;
	__u32 addresses;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct outlet);
} outlet SEC(".maps");

static __always_inline __be32 some_address(__u32 number)
{
	__u32 index = number & (ADDRESSES - 1);
	__be32 *address = bpf_map_lookup_elem(&addresses, &index);

	return address ? *address : 0;
}

static __always_inline __u32 halves(__u32 address)
{
	return (address & 0xffff) + (address >> 16);
}

// Gives the frame another source, adapts the checksum to it (RFC 1624), and sends the frame on. A page is used again
// and again, with the source that it has got the last time.
SEC("xdp")
int sender(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(eth + 1);
	__u32 zero = 0, sum;
	struct outlet *out = bpf_map_lookup_elem(&outlet, &zero);

	if ((void *)(ip + 1) > (void *)(long)ctx->data_end || !out || !out->addresses)
		return XDP_ABORTED;
	sum = (__u16)~ip->check + halves(~ip->saddr);
	ip->saddr = some_address(bpf_get_prandom_u32() % out->addresses);
	sum += halves(ip->saddr);
	sum = (sum & 0xffff) + (sum >> 16);
	ip->check = ~(sum + (sum >> 16));
	return bpf_redirect(out->interface, 0);
}
