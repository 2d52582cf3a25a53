// One program for each place where XDP programs run: an interface, an entry of a devmap, an entry of a cpumap.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

// Where packets go: the number of an interface, and a program that sees them there.
struct destination {
	__u32 ifindex;
	__u32 program;
};

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct destination);
} destinations SEC(".maps");

// The programs of one such map all take packets of several buffers, or none does.
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct destination);
} destinations_of_frags SEC(".maps");

// How many packets may wait for a CPU, and a program that sees them there.
struct place {
	__u32 queue;
	__u32 program;
};

struct {
	__uint(type, BPF_MAP_TYPE_CPUMAP);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct place);
} cpus SEC(".maps");

SEC("xdp")
int to_destination(struct xdp_md *ctx)
{
	return bpf_redirect_map(&destinations, 0, XDP_PASS);
}

SEC("xdp")
int to_cpu(struct xdp_md *ctx)
{
	return bpf_redirect_map(&cpus, 0, XDP_ABORTED);
}

SEC("xdp.frags")
int frags_to_destination(struct xdp_md *ctx)
{
	return bpf_redirect_map(&destinations_of_frags, 0, XDP_PASS);
}

SEC("xdp/devmap")
int at_device(struct xdp_md *ctx)
{
	return ctx->egress_ifindex ? XDP_DROP : XDP_PASS;
}

SEC("xdp.frags/devmap")
int at_device_with_frags(struct xdp_md *ctx)
{
	return XDP_DROP;
}

SEC("xdp/cpumap")
int at_cpu(struct xdp_md *ctx)
{
	return XDP_DROP;
}

SEC("xdp.frags/cpumap")
int at_cpu_with_frags(struct xdp_md *ctx)
{
	return XDP_PASS;
}
