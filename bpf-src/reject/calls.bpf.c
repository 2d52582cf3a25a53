// Refused: programs that call what is not for them, or do not give back what they got.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

struct sock {
	int unknown;
};

extern __u32 tcp_reno_undo_cwnd(struct sock *sk) __ksym;

// A helper for programs that handle socket buffers.
SEC("xdp")
int other_helper(struct xdp_md *ctx)
{
	char bytes[16];

	bpf_skb_load_bytes(ctx, 0, bytes, sizeof(bytes));
	return bytes[0] ? XDP_DROP : XDP_PASS;
}

// A function for congestion control alone.
SEC("xdp")
int other_kfunc(struct xdp_md *ctx)
{
	return tcp_reno_undo_cwnd((struct sock *)ctx);
}

// Hands over the context where a map belongs.
SEC("xdp")
int argument(struct xdp_md *ctx)
{
	return bpf_map_delete_elem(ctx, ctx) ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int record_kept(struct xdp_md *ctx)
{
	__u64 *record = bpf_ringbuf_reserve(&events, sizeof(*record), 0);

	if (record)
		*record = 1;
	return XDP_PASS;
}
