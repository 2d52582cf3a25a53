// The IP blocklist's packet program: drop what comes from an address that a rule is about.
// SPDX-License-Identifier: MIT OR Apache-2.0
//
// blocklist.h says where the rules are, and why there. ARP, neighbour discovery and whatever
// else is not IP passes, always: without them a gateway is cut off. A frame too short for the
// header it announces passes as well, because the network stack drops it and counts why. The
// source address stands in each fragment, so that fragments need no care.
//
// The program does without global data, subprograms and loops, and has fewer than 4,096
// instructions, so that old kernels take it. It reads headers alone, and so a loader may say that
// it takes packets in several buffers; their bytes are then those of the first buffer.
#include "blocklist.h"

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/if_ether.h>
#include <linux/if_pppox.h>
#include <linux/if_vlan.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/ppp_defs.h>

char _license[] SEC("license") = "Dual MIT/GPL";

#define VLAN_MAX_DEPTH 2
// How often `trie6` is asked. The second rule is the one that ends last; the third is for packets
// that come while that one is being taken out.
#define TRIE_TRIES 3

// The numbers of entries are for 65,536 rules. A loader asks for what is wanted.
#ifndef MAX_RULES
#define MAX_RULES 65536
#endif
#define BUCKETS (MAX_RULES / 8)
#ifndef HEADS
#define HEADS 4096
#endif

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct block_config);
} config SEC(".maps");

// An array that user space can map starts on a page, and so each line is in one cache line. And
// user space fills and lists it without a call for each entry.
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
	__uint(map_flags, BPF_F_MMAPABLE);
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
	__uint(max_entries, HEADS);
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
struct source6 {
	__be32 address[4];
	__u64 high;
	__u64 low;
};

enum place {
	NOWHERE,
	IN_BUCKET,
	IN_MAP,
};

// Where the rule that matches is. Its counters are in a bucket at `index` of the map `hits`, else at
// `hits`, which is never null: verifiers before 4.16 forget of a null that it is one when it is put
// aside on the stack.
struct found {
	struct block_hits *hits;
	__u32 index;
	enum place place;
};

// Whether a set of lengths has one of these. Where a compiler joins the tests of several lengths, or
// the verifier learns from one what the next ones will say, the verifier tries every mixture.
#define HAS_ANY(lengths, bits)                                                                     \
	({                                                                                         \
		__u64 has = (lengths) & (bits);                                                    \
		asm volatile("" : "+r"(has));                                                      \
		has;                                                                               \
	})
#define HAS(lengths, bit) HAS_ANY(lengths, 1u << (bit))

static __always_inline __u64 now(void)
{
	return bpf_ktime_get_ns() >> BLOCK_TIME_SHIFT;
}

static __always_inline int has_ended(const struct block_mark *mark)
{
	__u64 end = mark->end;

	return end && now() >= end;
}

// Whether what no rule is about is dropped.
static __always_inline int drops_by_default(const struct block_config *config, __u64 flags)
{
	__u64 end;

	if (!(flags & BLOCK_DEFAULT_DROP))
		return 0;
	end = config->default_end;
	return !end || now() < end;
}

static __always_inline struct found found_nowhere(const struct block_config *config)
{
	return (struct found){ .hits = (void *)config, .place = NOWHERE };
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
	__u32 index = block_line_of(first_bits, how_many, config->seed, config->lines);

	return bpf_map_lookup_elem(&filter, &index);
}

// Looks for the rule of this length, from /17 to /32, that the address is in, and says where its
// counters are. Sets the length's bit in `in_wide` if the rule may be there.
static __always_inline int find_in_bucket(const struct block_config *config, const struct block_line *line,
					  __u64 number, __u32 length, __u32 *found_at, __u64 *in_wide)
{
	__u64 code = block_code(number & 0xffffffffull << (32 - length), length);
	__u64 hash = block_hash4(code, length, config->seed), slot = config->zero, header;
	struct block_bucket *bucket;
	struct block_mark *mark;
	__u32 index;

	if (filtered(line, hash))
		return 0;
	index = block_bucket_of(hash, config->buckets);
	bucket = bpf_map_lookup_elem(&buckets, &index);
	if (!bucket)
		return 0;
	header = bucket->header;
#pragma unroll
	for (int i = 0; i < BLOCK_KEYS; i++) {
		if (bucket->keys[i] == code)
			break;
		slot++;
		// The slot is counted, and not one constant for each way out of the loop.
		asm volatile("" : "+r"(slot));
	}
	if (slot == BLOCK_KEYS || (header >> slot & BLOCK_KIND_MASK) != BLOCK_KIND(length)) {
		*in_wide |= header >> 31 << (32 - length);
		return 0;
	}
	index = index * 16 + slot;
	if (header & BLOCK_HAS_END) {
		mark = bpf_map_lookup_elem(&marks, &index);
		if (mark && has_ended(mark))
			return 0;
	}
	*found_at = index;
	return 1;
}

#define TRY_BUCKET(length)                                                                         \
	if (HAS(lengths, 32 - (length)) &&                                                         \
	    find_in_bucket(config, line, number, length, &found.index, &in_wide)) {                \
		found.place = IN_BUCKET;                                                           \
		return found;                                                                      \
	}
#define TRY_WIDE(length)                                                                           \
	if (HAS(in_wide, 32 - (length))) {                                                         \
		rule = find_wide4(&key, number, length);                                           \
		if (rule && !(rule->mark.end && rule->mark.end <= time))                           \
			goto in_wide;                                                              \
	}

static __always_inline struct block_rule *find_wide4(struct block_wide_key *key, __u64 number, __u32 length)
{
	key->family_length = 4 << 16 | length;
	key->address[0] = length ? bpf_htonl(number & 0xffffffffull << (32 - length)) : 0;
	return bpf_map_lookup_elem(&wide, key);
}

// The n-th word of `heads`; 0 if there is none.
static __always_inline __u64 head(__u64 n)
{
	__u32 index = n >> 4;
	struct block_heads *line = bpf_map_lookup_elem(&heads, &index);

	return line ? line->words[n & 15] : 0;
}

// Which lengths of rules may match the address, one bit for each.
static __always_inline __u64 lengths_around(const struct block_config *config, __u64 number)
{
	__u64 slash19 = number >> 13;

	if (!(config->flags & BLOCK_FINE_HEADS))
		return head(number >> 16);
	return head(slash19) >> (number >> 8 & 31) & 1 ? head(BLOCK_SLASH19S + slash19) : 0;
}

// The rule that the address is in.
static __always_inline struct found find4(const struct block_config *config, __u64 number)
{
	__u64 lengths = config->lengths4, in_wide, time;
	struct block_wide_key key = { 0 };
	struct found found = found_nowhere(config);
	struct block_rule *rule;
	struct block_line *line;

	// With single addresses alone there is nothing to choose.
	if (lengths & ~1ull)
		lengths &= lengths_around(config, number);
	in_wide = lengths & 0xffff0000;
	if (lengths & 0x1ff) {
		line = line_of(config, number >> 8, 24);
		if (!line)
			return found;
		TRY_BUCKET(32)
		if (HAS_ANY(lengths, 0x1fe)) {
			TRY_BUCKET(31) TRY_BUCKET(30) TRY_BUCKET(29) TRY_BUCKET(28)
			TRY_BUCKET(27) TRY_BUCKET(26) TRY_BUCKET(25) TRY_BUCKET(24)
		}
	}
	if (lengths & 0xfe00) {
		line = line_of(config, number >> 16, 16);
		if (!line)
			return found;
		TRY_BUCKET(23) TRY_BUCKET(22) TRY_BUCKET(21) TRY_BUCKET(20)
		TRY_BUCKET(19) TRY_BUCKET(18) TRY_BUCKET(17)
	}
	if (in_wide) {
		time = now();
		TRY_WIDE(32) TRY_WIDE(31) TRY_WIDE(30) TRY_WIDE(29)
		TRY_WIDE(28) TRY_WIDE(27) TRY_WIDE(26) TRY_WIDE(25)
		TRY_WIDE(24) TRY_WIDE(23) TRY_WIDE(22) TRY_WIDE(21)
		TRY_WIDE(20) TRY_WIDE(19) TRY_WIDE(18) TRY_WIDE(17)
		TRY_WIDE(16) TRY_WIDE(15) TRY_WIDE(14) TRY_WIDE(13)
		TRY_WIDE(12) TRY_WIDE(11) TRY_WIDE(10) TRY_WIDE(9)
		TRY_WIDE(8) TRY_WIDE(7) TRY_WIDE(6) TRY_WIDE(5)
		TRY_WIDE(4) TRY_WIDE(3) TRY_WIDE(2) TRY_WIDE(1)
	}
	if (!(config->flags & BLOCK_HAS_ANY4))
		return found;
	rule = find_wide4(&key, number, 0);
	if (!rule || has_ended(&rule->mark))
		return found;
in_wide:
	found.hits = &rule->hits;
	found.place = IN_MAP;
	return found;
}

// The rule of this length, one of those that blocklist.h numbers, that the address is in.
static __always_inline struct block_hits *find_wide6(const struct block_config *config,
						     const struct block_line *line,
						     const struct source6 *source, struct block_wide_key *key,
						     __u32 length)
{
	__u64 high = length < 64 ? source->high & ~0ull << (64 - length) : source->high;
	__u64 low = length == 128 ? source->low : 0;
	struct block_rule *rule;

	if (filtered(line, block_hash6(high, low, length, config->seed)))
		return 0;
	key->family_length = 6 << 16 | length;
	key->address[0] = source->address[0] & bpf_htonl(length < 32 ? ~0u << (32 - length) : ~0u);
	key->address[1] = length <= 32 ? 0 : source->address[1] & bpf_htonl(length < 64 ? ~0u << (64 - length) : ~0u);
	key->address[2] = length == 128 ? source->address[2] : 0;
	key->address[3] = length == 128 ? source->address[3] : 0;
	rule = bpf_map_lookup_elem(&wide, key);
	return rule && !has_ended(&rule->mark) ? &rule->hits : 0;
}

// The longest rule of `trie6` that the address is in, or, if that has ended, the one that ends last.
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
		key.length = found->next;
	}
	return 0;
}

#define TRY6(number, length)                                                                       \
	if (HAS(lengths, number)) {                                                                \
		hits = find_wide6(config, line, source, &key, length);                                 \
		if (hits)                                                                          \
			goto in_map;                                                               \
	}
#define TRY6_ALL(first_bits, how_many, LENGTHS)                                                    \
	if (lengths & (0 LENGTHS(BLOCK_LENGTH6_BIT))) {                                            \
		line = line_of(config, first_bits, how_many);                                      \
		if (!line)                                                                         \
			return found;                                                              \
		LENGTHS(TRY6)                                                                      \
	}

static __always_inline struct found find6(const struct block_config *config, const struct source6 *source)
{
	struct found found = found_nowhere(config);
	__u64 lengths = config->lengths6;
	struct block_wide_key key;
	struct block_hits *hits;
	struct block_line *line;

	TRY6_ALL(source->high, 64, BLOCK_LENGTHS6_FROM_64)
	TRY6_ALL(source->high >> 16, 48, BLOCK_LENGTHS6_FROM_48)
	TRY6_ALL(source->high >> 32, 32, BLOCK_LENGTHS6_FROM_32)
	TRY6_ALL(source->high >> 48, 16, BLOCK_LENGTHS6_FROM_16)
	if (!(config->flags & BLOCK_HAS_TRIE6))
		return found;
	hits = find_in_trie(source);
	if (!hits)
		return found;
in_map:
	found.hits = hits;
	found.place = IN_MAP;
	return found;
}

static __always_inline void count(struct block_hits *hits, __u64 bytes)
{
	__sync_fetch_and_add(&hits->packets, 1);
	__sync_fetch_and_add(&hits->bytes, bytes);
}

// What becomes of a packet that is to be dropped.
static __always_inline enum block_verdict judge(__u64 flags, enum block_verdict dropped)
{
	return flags & BLOCK_COUNT_ONLY ? BLOCK_WOULD_DROP : dropped;
}

static __always_inline enum block_verdict judge4(const struct block_config *config, __be32 source,
						 __u64 bytes)
{
	struct block_prefix4 key = { .length = 32, .address = source };
	struct found found = find4(config, bpf_ntohl(source));
	__u64 flags = config->flags;

	if (found.place == NOWHERE && !drops_by_default(config, flags))
		return BLOCK_PASSED4;
	if (flags & BLOCK_HAS_ALLOW4 && bpf_map_lookup_elem(&allow4, &key))
		return BLOCK_ALLOWED;
	if (found.place == IN_BUCKET)
		found.hits = bpf_map_lookup_elem(&hits, &found.index);
	if (found.place != NOWHERE && found.hits)
		count(found.hits, bytes);
	return judge(flags, BLOCK_DROPPED4);
}

static __always_inline enum block_verdict judge6(const struct block_config *config,
						 const struct source6 *source, __u64 bytes)
{
	struct found found = find6(config, source);
	struct block_prefix6 key = { .length = 128 };
	__u64 flags = config->flags;

	if (found.place == NOWHERE && !drops_by_default(config, flags))
		return BLOCK_PASSED6;
	__builtin_memcpy(key.address, source->address, sizeof(key.address));
	if (flags & BLOCK_HAS_ALLOW6 && bpf_map_lookup_elem(&allow6, &key))
		return BLOCK_ALLOWED;
	if (found.place != NOWHERE)
		count(found.hits, bytes);
	return judge(flags, BLOCK_DROPPED6);
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
		words = ip->saddr.s6_addr32;
		__builtin_memcpy(source.address, words, sizeof(source.address));
		source.high = (__u64)bpf_ntohl(words[0]) << 32 | bpf_ntohl(words[1]);
		source.low = (__u64)bpf_ntohl(words[2]) << 32 | bpf_ntohl(words[3]);
		return judge6(config, &source, bytes);
	}
	return BLOCK_OTHER;
}

SEC("xdp")
int xdp_blocklist(struct xdp_md *ctx)
{
	__u64 bytes = ctx->data_end - ctx->data;
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
