// Refused: calls with arguments that the function does not take, and programs that are called with fewer than they ask.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64[4]);
} table SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} first SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct inner);
} by_number SEC(".maps") = {
	.values = { &first },
};

// Without its section, it is but a variable.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lost;

static long (*const xdp_load_bytes)(struct xdp_md *ctx, __u32 off, void *to, __u32 size) = (void *)189;
static void (*const ringbuf_submit)(void *record, __u64 flags) = (void *)132;

SEC("xdp")
int size_unlimited(struct xdp_md *ctx)
{
	char bytes[16];

	return xdp_load_bytes(ctx, 0, bytes, ctx->rx_queue_index) ? XDP_DROP : bytes[0];
}

// The key itself, where its address is asked for.
SEC("xdp")
int key_by_value(struct xdp_md *ctx)
{
	return bpf_map_lookup_elem(&table, 0) ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int value_too_short(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u64 value = 1;

	return bpf_map_update_elem(&table, &key, &value, 0) ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int other_map(struct xdp_md *ctx)
{
	return bpf_redirect_map(&table, 0, 0);
}

SEC("xdp")
int no_map(struct xdp_md *ctx)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&lost, &key) ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int inner_unchecked(struct xdp_md *ctx)
{
	__u32 key = 0;
	void *inner = bpf_map_lookup_elem(&by_number, &key);

	return bpf_map_lookup_elem(inner, &key) ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int size_varies(struct xdp_md *ctx)
{
	void *record = bpf_ringbuf_reserve(&events, ctx->data_end - ctx->data, 0);

	if (record)
		ringbuf_submit(record, 0);
	return XDP_PASS;
}

SEC("xdp")
int used_after_submit(struct xdp_md *ctx)
{
	__u64 *record = bpf_ringbuf_reserve(&events, 8, 0);

	if (!record)
		return XDP_PASS;
	ringbuf_submit(record, 0);
	return *(volatile __u64 *)record;
}

// Two arguments, of which a program gets the first.
SEC("xdp")
int second_argument(struct xdp_md *ctx, __u32 mark)
{
	return mark ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
void no_action(struct xdp_md *ctx)
{
}

SEC("xdp")
int context_written(struct xdp_md *ctx)
{
	ctx->data = 0;
	return XDP_PASS;
}

SEC("xdp")
int part_of_field(struct xdp_md *ctx)
{
	return *(volatile __u8 *)&ctx->rx_queue_index;
}

SEC("xdp")
int not_for_interfaces(struct xdp_md *ctx)
{
	__u32 egress;

	asm volatile("%0 = *(u32 *)(%1 + 20)" : "=r"(egress) : "r"(ctx));
	return egress ? XDP_DROP : XDP_PASS;
}
