// Keys, values and variables of every sort of type, for those who read and write them by type.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

enum protocol {
	ICMP = 1,
	TCP = 6,
	UDP = 17,
};

struct flow {
	__be32 source;
	__be16 port;
	__u8 mac[6];
	enum protocol protocol;
};

struct limit {
	char name[8];
	__u64 packets;
	__s16 offsets[2];
	__u32 strict : 1;
	__s32 level : 3;
	_Bool on;
	union {
		__u32 word;
		__u8 octets[4];
	};
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, struct flow);
	__type(value, struct limit);
} limits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct limit);
} by_cpu SEC(".maps");

// Eight bytes that are no number, and four that may be a negative one.
struct range {
	__u32 first;
	__u32 last;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct range);
} ranges SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, int);
} changes SEC(".maps");

// Constants, of which user space may choose others before the load.
const volatile struct flow only = { .protocol = UDP };
const volatile enum protocol protocol = TCP;

// Variables, which it may change at any time.
struct limit limit = { .name = "first", .packets = 5, .offsets = { -1, 1 }, .level = -2 };
__u64 seen;
__u32 totals[4];

SEC("xdp")
int xdp_typed(struct xdp_md *ctx)
{
	struct flow flow = { .source = only.source, .port = only.port, .protocol = protocol };
	struct limit *found = bpf_map_lookup_elem(&limits, &flow);
	__u32 key = 0;
	struct limit *mine = bpf_map_lookup_elem(&by_cpu, &key);
	struct range *range = bpf_map_lookup_elem(&ranges, &key);
	int *change = bpf_map_lookup_elem(&changes, &key);

	__sync_fetch_and_add(&seen, 1);
	totals[seen & 3] += 1;
	if (mine)
		mine->packets += 1;
	if (range && change)
		range->last += *change;
	if (found && found->on && found->packets > limit.packets)
		return XDP_DROP;
	return XDP_PASS;
}
