// Refused: calls that no kernel makes, locks that are kept too long, and functions that call themselves.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

struct bpf_spin_lock {
	__u32 val;
};

struct guarded {
	struct bpf_spin_lock lock;
	__u32 unused;
	__u64 count;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct guarded);
} guarded SEC(".maps");

static long (*const spin_lock)(struct bpf_spin_lock *lock) = (void *)93;
static long (*const spin_unlock)(struct bpf_spin_lock *lock) = (void *)94;

volatile __u32 choice;

static __noinline int one(int number)
{
	return number + choice;
}

static __noinline int two(int number)
{
	return number - choice;
}

SEC("xdp")
int called_by_pointer(struct xdp_md *ctx)
{
	int (*chosen)(int) = choice ? one : two;

	return chosen(3);
}

#define LOOK_UP(value) \
	__u32 key = 0; \
	struct guarded *value = bpf_map_lookup_elem(&guarded, &key); \
	if (!value) \
		return XDP_PASS

SEC("xdp")
int lock_and_call(struct xdp_md *ctx)
{
	LOOK_UP(value);
	spin_lock(&value->lock);
	value->count = bpf_ktime_get_ns();
	spin_unlock(&value->lock);
	return XDP_PASS;
}

SEC("xdp")
int lock_kept(struct xdp_md *ctx)
{
	LOOK_UP(value);
	spin_lock(&value->lock);
	if (value->count)
		return XDP_DROP;
	spin_unlock(&value->lock);
	return XDP_PASS;
}

SEC("xdp")
int lock_read(struct xdp_md *ctx)
{
	LOOK_UP(value);
	return *(volatile __u32 *)&value->lock ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int until_drawn(struct xdp_md *ctx)
{
	for (;;)
		if (bpf_get_prandom_u32() == 5)
			break;
	return XDP_PASS;
}

static int fibonacci(int number)
{
	if (number <= 1)
		return number;
	return fibonacci(number - 1) + fibonacci(number - 2);
}

SEC("xdp")
int recursion(struct xdp_md *ctx)
{
	return fibonacci(ctx->rx_queue_index);
}

SEC("xdp")
int atomic_packet(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (data + 8 <= end)
		__sync_fetch_and_add((__u64 *)data, 1);
	return XDP_PASS;
}
