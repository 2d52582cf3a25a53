// Variables that the source fills with addresses, which no loader can, and types that the kernel does not take for the
// entries of maps.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

static const char alpha[] = "alpha";
static const char beta[] = "beta";
const char *const volatile names[] = { alpha, beta };
__u32 first = 7;
__u32 *chosen = &first;

enum state {
	OLD,
	NEW,
};

// The kernel wants a key of type `__u32` or the like for an array.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, enum state);
	__type(value, __u64);
} by_state SEC(".maps");

// A prefix of a MAC address.
struct prefix {
	__u32 length;
	__u8 mac[6];
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 4);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, __u32);
} vendors SEC(".maps");

SEC("xdp.frags/entry")
int pointers(struct xdp_md *ctx)
{
	static __u32 calls;
	static __u32 seen[2];
	enum state state = NEW;
	__u64 *count = bpf_map_lookup_elem(&by_state, &state);
	struct prefix prefix = { .length = 24 };

	calls++;
	seen[ctx->rx_queue_index & 1]++;
	if (count)
		++*count;
	if (bpf_map_lookup_elem(&vendors, &prefix))
		return XDP_DROP;
	return names[0] || chosen || calls == 0 ? XDP_DROP : XDP_PASS;
}
