// Sections of data that tell other loaders something, and constants that no program reads.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

// libxdp reads from the types of these two when the program is to run among others, and
// how far it got; the sections hold nothing of use.
struct {
	__uint(priority, 10);
	__uint(XDP_PASS, 1);
} _xdp_pass_config SEC(".xdp_run_config");
__u32 xdp_pass_version SEC("xdp_metadata") = 1;

// xdp-filter's flags of what it was compiled for.
__u32 _features SEC("features") = 0x1234;

// bpftool shows these beside a program that holds the map of them.
const char bpf_metadata_author[] SEC(".rodata") = "xdpload";

SEC("xdp")
int xdp_pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}
