// Many programs and many ways to write a BTF map: what a reader of objects must tell apart.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

typedef __be32 ipv4_address;

struct flow {
	ipv4_address source;
	ipv4_address destination;
};

typedef struct flow flow_key;
typedef const flow_key const_flow_key;

struct traffic {
	__u64 packets;
	__u64 bytes;
};

// Pinned under its own name; the key is a typedef, the value a struct.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, ipv4_address);
	__type(value, struct traffic);
} by_source SEC(".maps");

// The key is a struct behind two typedefs and a const.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, const_flow_key);
	__type(value, const struct traffic);
} by_flow SEC(".maps");

// Sizes in place of types, and a flag: nothing is known of what the bytes mean.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__uint(key_size, 6);
	__uint(value_size, 16);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} by_address SEC(".maps");

// Three programs in one section: only their symbols tell where each begins.
SEC("xdp")
int pass_all(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("xdp")
int drop_known_source(struct xdp_md *ctx)
{
	ipv4_address source = ctx->rx_queue_index;

	return bpf_map_lookup_elem(&by_source, &source) ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int drop_known_flow(struct xdp_md *ctx)
{
	flow_key flow = { .source = ctx->rx_queue_index, .destination = ctx->ingress_ifindex };

	return bpf_map_lookup_elem(&by_flow, &flow) ? XDP_DROP : XDP_PASS;
}

// gobpf names a program by such a section; libbpf knows no such section.
SEC("xdp/second")
int drop_known_address(struct xdp_md *ctx)
{
	__u8 address[6];

	// Not an initialiser: the compiler would keep a copy of the array in `.rodata`.
	__builtin_memset(address, 2, sizeof(address));
	return bpf_map_lookup_elem(&by_address, address) ? XDP_DROP : XDP_PASS;
}

// A section that asks for a flag: the program takes packets of several buffers.
SEC("xdp.frags")
int pass_frags(struct xdp_md *ctx)
{
	return XDP_PASS;
}

// The kernel's samples of old named their sections freely after the prefix.
SEC("xdp_old_sample")
int old_sample(struct xdp_md *ctx)
{
	return XDP_DROP;
}
