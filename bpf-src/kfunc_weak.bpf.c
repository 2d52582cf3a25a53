// A weak function that no kernel has, called only where the kernel has it.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

extern int xdpload_elsewhere(int number) __ksym __weak;
extern int xdpload_nowhere(int number) __ksym __weak;

SEC("xdp")
int guarded(struct xdp_md *ctx)
{
	return bpf_ksym_exists(xdpload_nowhere) ? xdpload_nowhere(3) : XDP_PASS;
}

SEC("xdp")
int guarded_twice(struct xdp_md *ctx)
{
	int verdict = XDP_DROP;

	if (bpf_ksym_exists(xdpload_elsewhere))
		verdict = xdpload_elsewhere(verdict);
	if (bpf_ksym_exists(xdpload_nowhere))
		verdict = xdpload_nowhere(verdict);
	return verdict;
}
