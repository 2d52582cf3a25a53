// Refused: calls a helper that is for GPL-compatible programs under another licence.
// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The source is free all the same. What the kernel goes by is the string in the section.
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Proprietary";

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} events SEC(".maps");

SEC("xdp")
int gpl_only(struct xdp_md *ctx)
{
	__u32 event = ctx->rx_queue_index;

	bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &event, sizeof(event));
	return XDP_PASS;
}
