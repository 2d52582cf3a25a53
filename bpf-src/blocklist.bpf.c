// The IP blocklist's packet program: drop what comes from an address that a rule is about.
// SPDX-License-Identifier: MIT OR Apache-2.0
//
// blocklist.h says where the rules are, and why there. ARP, neighbour discovery and whatever
// else is not IP passes, always: without them a gateway is cut off. A frame too short for the
// header it announces passes as well, because the network stack drops it and counts why. The
// source address stands in each fragment, so that fragments need no care.
//
// The program does without global data, subprograms and loops, so that old kernels take it.
#include "blocklist.h"

#include <bpf/helpers.h>
#include <linux/if_ether.h>
#include <linux/if_pppox.h>
#include <linux/if_vlan.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/ppp_defs.h>

char _license[] SEC("license") = "Dual MIT/GPL";

#define VLAN_MAX_DEPTH 2
// How often `trie6` is asked again when the rule it found has ended.
#define TRIE_TRIES 4

// The numbers of entries are for 65,536 rules. A loader asks for what is wanted.
#define MAX_RULES 65536
#define BUCKETS (MAX_RULES / 8)

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct block_config);
} config SEC(".maps");

// An array that user space can map starts on a page, and so each line is in one cache line.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, BUCKETS);
	__type(key, __u32);
	__type(value, struct block_bucket);
} buckets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, BUCKETS * 16);
	__type(key, __u32);
	__type(value, struct block_hits);
} hits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BUCKETS * 16);
	__type(key, __u32);
	__type(value, struct block_mark);
} marks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, MAX_RULES / 32);
	__type(key, __u32);
	__type(value, struct block_line);
} filter SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct block_heads);
} heads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_RULES);
	__type(key, struct block_wide_key);
	__type(value, struct block_rule);
} wide SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_RULES);
	__type(key, struct block_prefix6);
	__type(value, struct block_trie_rule);
} trie6 SEC(".maps");

// The values are the lengths of the keys, for user space: a lookup does not tell.
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_RULES);
	__type(key, struct block_prefix4);
	__type(value, __u32);
} allow4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_RULES);
	__type(key, struct block_prefix6);
	__type(value, __u32);
} allow6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct block_counters);
} counters SEC(".maps");

// A source address: as it stands in the packet, and as numbers.
struct source4 {
	__be32 address;
	__u32 number;
};

struct source6 {
	__be32 address[4];
	__u64 high;
	__u64 low;
};

static __always_inline void add_packet(struct block_hits *hits, __u64 bytes)
{
	__sync_fetch_and_add(&hits->packets, 1);
	__sync_fetch_and_add(&hits->bytes, bytes);
}

static __always_inline int has_ended(const struct block_mark *mark)
{
	__u32 end = mark->end;

	return end && bpf_ktime_get_ns() >> BLOCK_TIME_SHIFT >= end;
}

// The rule of `wide` with this key, unless it has ended.
static __always_inline struct block_hits *find_wide(const struct block_wide_key *key)
{
	struct block_rule *rule = bpf_map_lookup_elem(&wide, key);

	return rule && !has_ended(&rule->mark) ? &rule->hits : 0;
}

static __always_inline struct block_hits *find_wide4(__u32 number, __u32 length)
{
	struct block_wide_key key = { .family_length = 4 << 16 | length };

	key.address[0] = length ? bpf_htonl(number & ~0u << (32 - length)) : 0;
	return find_wide(&key);
}

// Whether the filter does not know this hash.
static __always_inline int filtered(const struct block_line *line, __u64 hash)
{
	__u64 bits = block_bits_of(hash);

	return (line->words[block_word_of(hash)] & bits) != bits;
}

static __always_inline struct block_line *line_of(const struct block_config *config, __u64 first_bits,
						  __u32 how_many)
{
	__u32 index = block_line_of(first_bits, how_many, config->seed, config->line_mask);

	return bpf_map_lookup_elem(&filter, &index);
}

// The rule of this length, from /17 to /32, that the address is in.
static __always_inline struct block_hits *find_in_bucket(const struct block_config *config,
							 const struct block_line *line, __u32 number,
							 __u32 length)
{
	__u32 code = block_code(number & ~0u << (32 - length), length);
	__u64 hash = block_hash4(code, length, config->seed);
	__u32 index, header, present, is_prefix;
	struct block_bucket *bucket;
	struct block_mark *mark;

	if (filtered(line, hash))
		return 0;
	index = block_bucket_of(hash, config->bucket_mask);
	bucket = bpf_map_lookup_elem(&buckets, &index);
	if (!bucket)
		return 0;
	header = bucket->header;
	index *= 16;
#pragma unroll
	for (int slot = 0; slot < BLOCK_KEYS; slot++) {
		present = 1u << slot;
		is_prefix = present << BLOCK_IS_PREFIX_SHIFT;
		if (bucket->keys[slot] == code &&
		    (header & (present | is_prefix)) == (length == 32 ? present : present | is_prefix)) {
			index += slot;
			goto found;
		}
	}
	return header & BLOCK_OVERFLOWS ? find_wide4(number, length) : 0;

found:
	if (header & BLOCK_HAS_END) {
		mark = bpf_map_lookup_elem(&marks, &index);
		if (mark && has_ended(mark))
			return 0;
	}
	return bpf_map_lookup_elem(&hits, &index);
}

#define TRY(length)                                                                                \
	if (lengths & 1u << (32 - (length))) {                                                     \
		found = find_in_bucket(config, line, number, length);                              \
		if (found)                                                                         \
			return found;                                                              \
	}
#define TRY_WIDE(length)                                                                           \
	if (lengths & 1u << (32 - (length))) {                                                     \
		found = find_wide4(number, length);                                                \
		if (found)                                                                         \
			return found;                                                              \
	}

// The rule that the address is in.
static __always_inline struct block_hits *find4(const struct block_config *config, __u32 number)
{
	__u32 lengths = config->lengths4, index = number >> 20;
	struct block_hits *found;
	struct block_heads *head;
	struct block_line *line;

	if (lengths & ~1u) {
		head = bpf_map_lookup_elem(&heads, &index);
		if (!head)
			return 0;
		lengths &= head->lengths[number >> 16 & 15];
	}
	if (lengths & 0x1ff) {
		line = line_of(config, number >> 8, 24);
		if (!line)
			return 0;
		TRY(32) TRY(31) TRY(30) TRY(29) TRY(28) TRY(27) TRY(26) TRY(25) TRY(24)
	}
	if (lengths & 0xfe00) {
		line = line_of(config, number >> 16, 16);
		if (!line)
			return 0;
		TRY(23) TRY(22) TRY(21) TRY(20) TRY(19) TRY(18) TRY(17)
	}
	if (lengths & 0xffff0000) {
		TRY_WIDE(16) TRY_WIDE(15) TRY_WIDE(14) TRY_WIDE(13)
		TRY_WIDE(12) TRY_WIDE(11) TRY_WIDE(10) TRY_WIDE(9)
		TRY_WIDE(8) TRY_WIDE(7) TRY_WIDE(6) TRY_WIDE(5)
		TRY_WIDE(4) TRY_WIDE(3) TRY_WIDE(2) TRY_WIDE(1)
	}
	return config->flags & BLOCK_HAS_ANY4 ? find_wide4(number, 0) : 0;
}

// The rule of this length, one of BLOCK_LENGTHS6, that the address is in.
static __always_inline struct block_hits *find_wide6(const struct block_config *config,
						     const struct block_line *line,
						     const struct source6 *source, __u32 length)
{
	__u64 high = length < 64 ? source->high & ~0ull << (64 - length) : source->high;
	__u64 low = length == 128 ? source->low : length <= 64 ? 0 : source->low & ~0ull << (128 - length);
	struct block_wide_key key = { .family_length = 6 << 16 | length };

	if (filtered(line, block_hash6(high, low, length, config->seed)))
		return 0;
	key.address[0] = bpf_htonl(high >> 32);
	key.address[1] = bpf_htonl(high);
	key.address[2] = bpf_htonl(low >> 32);
	key.address[3] = bpf_htonl(low);
	return find_wide(&key);
}

// The longest rule of `trie6` that the address is in and that has not ended.
static __always_inline struct block_hits *find_in_trie(const struct source6 *source)
{
	struct block_prefix6 key = { .length = 128 };
	struct block_trie_rule *found;

	__builtin_memcpy(key.address, source->address, sizeof(key.address));
#pragma unroll
	for (int tries = 0; tries < TRIE_TRIES; tries++) {
		found = bpf_map_lookup_elem(&trie6, &key);
		if (!found)
			return 0;
		if (!has_ended(&found->rule.mark))
			return &found->rule.hits;
		if (!found->length)
			return 0;
		key.length = found->length - 1;
	}
	return 0;
}

#define TRY6(number, length)                                                                       \
	if (lengths & 1u << (number)) {                                                            \
		if ((length) >= 64)                                                                \
			line = line_of(config, source->high, 64);                                  \
		else if ((length) >= 48)                                                           \
			line = line_of(config, source->high >> 16, 48);                            \
		else if ((length) >= 32)                                                           \
			line = line_of(config, source->high >> 32, 32);                            \
		else                                                                               \
			line = line_of(config, source->high >> 48, 16);                            \
		if (!line)                                                                         \
			return 0;                                                                  \
		found = find_wide6(config, line, source, length);                                  \
		if (found)                                                                         \
			return found;                                                              \
	}

static __always_inline struct block_hits *find6(const struct block_config *config,
						const struct source6 *source)
{
	__u32 lengths = config->lengths6;
	struct block_hits *found;
	struct block_line *line;

	if (lengths) {
		BLOCK_LENGTHS6(TRY6)
	}
	return config->flags & BLOCK_HAS_TRIE6 ? find_in_trie(source) : 0;
}

// What becomes of a packet that `found` is about, if that is a rule.
static __always_inline enum block_verdict judge(__u32 flags, struct block_hits *found, int allowed,
						enum block_verdict passed, __u64 bytes)
{
	if (allowed)
		return BLOCK_ALLOWED;
	if (found)
		add_packet(found, bytes);
	if (flags & BLOCK_COUNT_ONLY)
		return BLOCK_WOULD_DROP;
	return passed == BLOCK_PASSED4 ? BLOCK_DROPPED4 : BLOCK_DROPPED6;
}

static __always_inline enum block_verdict judge4(const struct block_config *config, __be32 source,
						 __u64 bytes)
{
	struct block_hits *found = find4(config, bpf_ntohl(source));
	struct block_prefix4 key = { .length = 32, .address = source };
	__u32 flags = config->flags;

	if (!found && !(flags & BLOCK_DEFAULT_DROP))
		return BLOCK_PASSED4;
	return judge(flags, found, flags & BLOCK_HAS_ALLOW4 && bpf_map_lookup_elem(&allow4, &key),
		     BLOCK_PASSED4, bytes);
}

static __always_inline enum block_verdict judge6(const struct block_config *config,
						 const struct source6 *source, __u64 bytes)
{
	struct block_hits *found = find6(config, source);
	struct block_prefix6 key = { .length = 128 };
	__u32 flags = config->flags;

	if (!found && !(flags & BLOCK_DEFAULT_DROP))
		return BLOCK_PASSED6;
	__builtin_memcpy(key.address, source->address, sizeof(key.address));
	return judge(flags, found, flags & BLOCK_HAS_ALLOW6 && bpf_map_lookup_elem(&allow6, &key),
		     BLOCK_PASSED6, bytes);
}

// Router and neighbour solicitations and advertisements, and redirects (RFC 4861), from this very
// link: a router would have lowered the hop limit.
static __always_inline int is_neighbour_discovery(const struct ipv6hdr *ip, const void *data_end)
{
	const __u8 *type = (const void *)(ip + 1);

	return ip->nexthdr == IPPROTO_ICMPV6 && ip->hop_limit == 255 && (const void *)(type + 1) <= data_end &&
	       *type >= 133 && *type <= 137;
}

// The verdict on a frame of so many bytes. Every bounds check is a plain comparison with data_end,
// because that is what the verifier learns from.
static __always_inline enum block_verdict verdict_on(struct xdp_md *ctx, const struct block_config *config,
						     __u64 bytes)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	void *next = eth + 1;
	__be16 proto;

	if (next > data_end)
		return BLOCK_TRUNCATED;
	proto = eth->h_proto;

#pragma unroll
	for (int depth = 0; depth < VLAN_MAX_DEPTH; depth++) {
		struct vlan_hdr *vlan = next;

		if (proto != bpf_htons(ETH_P_8021Q) && proto != bpf_htons(ETH_P_8021AD))
			break;
		next = vlan + 1;
		if (next > data_end)
			return BLOCK_TRUNCATED;
		proto = vlan->h_vlan_encapsulated_proto;
	}

	if (proto == bpf_htons(ETH_P_PPP_SES)) {
		struct pppoe_hdr *session = next;
		__be16 *protocol = (void *)(session + 1);

		next = protocol + 1;
		if (next > data_end)
			return BLOCK_TRUNCATED;
		if (*protocol == bpf_htons(PPP_IP))
			proto = bpf_htons(ETH_P_IP);
		else if (*protocol == bpf_htons(PPP_IPV6))
			proto = bpf_htons(ETH_P_IPV6);
	}

	if (proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = next;

		if ((void *)(ip + 1) > data_end)
			return BLOCK_TRUNCATED;
		return judge4(config, ip->saddr, bytes);
	}
	if (proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = next;
		struct source6 source;
		__be32 *words;

		if ((void *)(ip + 1) > data_end)
			return BLOCK_TRUNCATED;
		if (is_neighbour_discovery(ip, data_end))
			return BLOCK_OTHER;
		words = ip->saddr.in6_u.u6_addr32;
		__builtin_memcpy(source.address, words, sizeof(source.address));
		source.high = (__u64)bpf_ntohl(words[0]) << 32 | bpf_ntohl(words[1]);
		source.low = (__u64)bpf_ntohl(words[2]) << 32 | bpf_ntohl(words[3]);
		return judge6(config, &source, bytes);
	}
	return BLOCK_OTHER;
}

static __always_inline int act(struct xdp_md *ctx, __u64 bytes)
{
	__u32 zero = 0, ifindex = ctx->ingress_ifindex, index = ifindex & 255;
	struct block_config *settings = bpf_map_lookup_elem(&config, &zero);
	struct block_counters *counts;
	enum block_verdict verdict;

	if (!settings)
		return XDP_PASS;
	verdict = verdict_on(ctx, settings, bytes);
	counts = bpf_map_lookup_elem(&counters, &index);
	if (counts) {
		counts->ifindex = ifindex;
		counts->verdicts[verdict & 7].packets++;
		counts->verdicts[verdict & 7].bytes += bytes;
	}
	return verdict == BLOCK_DROPPED4 || verdict == BLOCK_DROPPED6 ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int xdp_blocklist(struct xdp_md *ctx)
{
	return act(ctx, ctx->data_end - ctx->data);
}

// The same for packets in several buffers, which a large MTU needs. Their headers are in the first.
SEC("xdp.frags")
int xdp_blocklist_frags(struct xdp_md *ctx)
{
	return act(ctx, bpf_xdp_get_buff_len(ctx));
}
