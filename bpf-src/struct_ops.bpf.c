// Functions that the kernel is to call in place of its own, beside a program for XDP.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

// The beginning of the kernel's struct for congestion control, which it knows by name.
struct tcp_congestion_ops {
	__u32 (*ssthresh)(void *sk);
	__u32 (*undo_cwnd)(void *sk);
	void (*cong_avoid)(void *sk, __u32 ack, __u32 acked);
	char name[16];
};

SEC("struct_ops/halve")
__u32 halve(__u64 *arguments)
{
	return 2;
}

SEC("struct_ops/keep")
__u32 keep(__u64 *arguments)
{
	return 10;
}

SEC("struct_ops/ignore")
void ignore(__u64 *arguments)
{
}

SEC(".struct_ops")
struct tcp_congestion_ops steady = {
	.ssthresh = (void *)halve,
	.undo_cwnd = (void *)keep,
	.cong_avoid = (void *)ignore,
	.name = "steady",
};

SEC("xdp")
int xdp_pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}
