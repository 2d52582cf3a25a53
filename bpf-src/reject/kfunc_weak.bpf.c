// Weak functions that the kernel lacks, or has with another signature, called without
// asking for them.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

extern void bpf_rcu_read_lock(struct xdp_md *ctx) __ksym __weak;
extern int xdpload_int(int number) __ksym __weak;
extern int *xdpload_pointer(void) __ksym __weak;
extern void xdpload_void(void) __ksym __weak;

SEC("xdp")
int weak_int(struct xdp_md *ctx)
{
	return xdpload_int(3);
}

SEC("xdp")
int weak_void(struct xdp_md *ctx)
{
	xdpload_void();
	return XDP_PASS;
}

SEC("xdp")
int weak_pointer(struct xdp_md *ctx)
{
	return *xdpload_pointer();
}

SEC("xdp")
int weak_signature(struct xdp_md *ctx)
{
	bpf_rcu_read_lock(ctx);
	return XDP_PASS;
}
