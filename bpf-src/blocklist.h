// The IP blocklist: what the maps of blocklist.bpf.c hold, for the program and for whoever fills them.
// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A packet costs as many cache lines as it touches, so everything here is about touching few.
// Where a rule is depends on its length:
//
//   IPv4, /17 to /32   a slot of `buckets`, a hash table of 15 keys a cache line. The rule's
//                      counters are in `hits`, a second line that nobody waits for, and its
//                      end is in `marks`, which a packet reads only if some rule of the bucket
//                      has one.
//   IPv4, /0 to /16    `wide`, a hash map of the kernel's. A rule that finds its bucket full
//                      goes there too.
//   IPv6               `wide`, if it has one of the lengths below, else `trie6`.
//
// Three looks keep packets away from tables that they are not in:
//
//   config       which lengths there are at all
//   heads        for each /16 of IPv4 which lengths of rules lie in it or cover it: one word. For
//                a large list which /24 has any rule, a bit each, and then the lengths by the
//                /19. Nobody asks while there are only single addresses.
//   filter       cache lines of bits, two for each rule, but for those of IPv4 up to /16. The
//                rules that a packet may match share one line, or a few.
//
// Whoever changes rules keeps to an order, so that packets never see half of a rule: the bits
// of a new one are set first, then its length, then it is written where it will be, then it is
// made present. Bits are cleared after the rule is gone, or never: a bit that is set without a
// rule costs a look and nothing else. Of rules that match, the longest counts of
// those in `buckets`, else of those in `wide`, else of those in `trie6`.
#pragma once

#include <linux/types.h>

// Another number for each change of what this page says, for the maps outlive the program that made
// them, and whoever writes rules into the wrong places blocks nobody.
#define BLOCK_LAYOUT 5
#define BLOCK_KEYS 15
// The lengths of IPv6 rules in `wide`, each with the number of its bit, by the line of the
// filter that they share.
#define BLOCK_LENGTHS6_FROM_64(EACH) EACH(0, 128) EACH(1, 64)
#define BLOCK_LENGTHS6_FROM_48(EACH) EACH(2, 56) EACH(3, 48)
#define BLOCK_LENGTHS6_FROM_32(EACH) EACH(4, 44) EACH(5, 40) EACH(6, 36) EACH(7, 32)
#define BLOCK_LENGTHS6_FROM_16(EACH) EACH(8, 29) EACH(9, 28)
#define BLOCK_LENGTH6_BIT(number, length) | 1 << (number)
// Times are numbers of 2^30 ns (1.07 s) of CLOCK_MONOTONIC, for which a shift is enough.
#define BLOCK_TIME_SHIFT 30

enum block_flags {
	// Count what would be dropped, and let it pass.
	BLOCK_COUNT_ONLY = 1,
	// Drop what no rule is about, unless it is allowed.
	BLOCK_DEFAULT_DROP = 2,
	// There are entries in allow4, allow6, trie6; there is a rule 0.0.0.0/0.
	BLOCK_HAS_ALLOW4 = 4,
	BLOCK_HAS_ALLOW6 = 8,
	BLOCK_HAS_TRIE6 = 16,
	BLOCK_HAS_ANY4 = 32,
	// The list is large, and `heads` fine. Never changes.
	BLOCK_FINE_HEADS = 64,
};

// The only entry of `config`. Each field changes by one aligned store.
struct block_config {
	__u32 flags;
	// Bit 32 - length for each length of IPv4 rules in use, from /1 to /32.
	__u32 lengths4;
	// Bit i for the length that is numbered i below.
	__u32 lengths6;
	// How many buckets there are, and lines of the filter.
	__u32 buckets;
	__u32 lines;
	// Goes into each hash, so that nobody can choose addresses which share a bucket. Never
	// changes while there are rules.
	__u32 seed;
	// Always 0. The verifier does not know that, and so does not try each number that the program
	// counts from here.
	__u32 zero;
	// BLOCK_LAYOUT of whoever made the maps. Of no interest to the program.
	__u32 layout;
	// When BLOCK_DEFAULT_DROP ends, although its bit stays; 0 for never.
	__u64 default_end;
	// How many rules have been deleted since the filter was made. Of no interest to the program.
	__u64 stale;
};

// A cache line of `buckets`.
struct block_bucket {
	// Bit i: key i is present. Bit 15 + i: it is a prefix, not a single address.
	__u32 header;
	// block_code() of a rule. The program looks at the first that is equal to what it looks for,
	// present or not, and at no other. So a code that is here already is used again; and if a
	// rule of the other kind has it, the new one goes to `wide`. Code 0 is 0.0.0.0.
	__u32 keys[BLOCK_KEYS];
};

// Those two bits of a slot, when the header is shifted right by the slot: of any rule, and of one
// with this length.
#define BLOCK_KIND_MASK (1 | 1 << 15)
#define BLOCK_KIND(length) ((length) == 32 ? 1 : BLOCK_KIND_MASK)
// Some rule here has an end.
#define BLOCK_HAS_END (1u << 30)
// Rules that belong here are in `wide`.
#define BLOCK_OVERFLOWS (1u << 31)

// A cache line of `heads`. Its words are numbered through all lines, and bit 32 - length of the n-th
// is set if a rule of that length lies in the n-th /16 or covers it.
//
// With BLOCK_FINE_HEADS there are such words by the /19, from BLOCK_SLASH19S on. The n-th before has a
// bit for each /24 of the n-th /19, set if any rule lies in it or covers it. They lie apart, because
// the two megabytes of these bits are all that most unlisted packets touch.
struct block_heads {
	__u32 words[16];
};

#define BLOCK_SLASH19S (1 << 19)

// A cache line of `filter`.
struct block_line {
	__u64 words[8];
};

// What a rule has dropped, or would have; in `hits` at 16 * bucket + slot.
struct block_hits {
	__u64 packets;
	__u64 bytes;
};

// What belongs to a rule, in `marks` at 16 * bucket + slot.
struct block_mark {
	// When it ends; 0 for never.
	__u32 end;
	// Bit n: set n holds it. Of no interest to the program.
	__u32 sets;
};

// A rule in `wide`.
struct block_rule {
	struct block_hits hits;
	struct block_mark mark;
};

// A rule in `trie6`. A lookup gives the longest, which may have ended before a shorter one that
// covers it. How many such rules lie in each other does not matter: each that has an end leads to the
// one that goes on when all others around it have ended.
struct block_trie_rule {
	struct block_rule rule;
	// The length of the rule in `trie6` that ends last of those that cover this one, and of several
	// the longest; 0 if there is none. Of no interest for a rule without an end.
	__u32 next;
	__u32 padding;
};

// Key of `wide`.
struct block_wide_key {
	// 4 or 6 in the high half, the length in the low one.
	__u32 family_length;
	// The prefix in network order, all bits behind it 0; of IPv4 in the first word.
	__be32 address[4];
};

// Keys of allow4, and of allow6 and trie6.
struct block_prefix4 {
	__u32 length;
	__be32 address;
};

struct block_prefix6 {
	__u32 length;
	__be32 address[4];
};

// What becomes of a packet.
enum block_verdict {
	// Neither IPv4 nor IPv6, or neighbour discovery.
	BLOCK_OTHER,
	BLOCK_PASSED4,
	BLOCK_PASSED6,
	BLOCK_DROPPED4,
	BLOCK_DROPPED6,
	// A rule is about it, or the default, but it is allowed.
	BLOCK_ALLOWED,
	// It would have been dropped, but for BLOCK_COUNT_ONLY.
	BLOCK_WOULD_DROP,
	// Too short for the header that it announces. It passes.
	BLOCK_TRUNCATED,
	BLOCK_VERDICTS
};

// A value of `counters`, at the interface's index modulo 256, on each CPU.
struct block_counters {
	__u32 ifindex;
	__u32 padding;
	struct block_hits verdicts[BLOCK_VERDICTS];
};

// The hashes. Each is of 64 bits, and arithmetic wraps. The multiplier is odd and without a
// pattern: 2^64 divided by the golden ratio.
#define BLOCK_MULTIPLIER 0x9e3779b97f4a7c15ull

static inline __attribute__((always_inline)) __u64 block_mix(__u64 number)
{
	number *= BLOCK_MULTIPLIER;
	number ^= number >> 32;
	return number * BLOCK_MULTIPLIER;
}

// How an IPv4 rule is written in a bucket: a single address as a number, and a prefix with a 1
// behind its last bit, so that its length can be read from it.
static inline __attribute__((always_inline)) __u64 block_code(__u64 prefix, __u32 length)
{
	return length == 32 ? prefix : prefix | 1ull << (31 - length);
}

// The hash of an IPv4 rule of /17 to /32.
static inline __attribute__((always_inline)) __u64 block_hash4(__u64 code, __u32 length, __u64 seed)
{
	return block_mix((length == 32 ? code : code | 1ull << 32) ^ seed);
}

// The hash of an IPv6 rule, of whose prefix `high` and `low` are the halves as numbers.
static inline __attribute__((always_inline)) __u64 block_hash6(__u64 high, __u64 low, __u64 length,
							       __u64 seed)
{
	return block_mix((high ^ seed ^ length << 32) * BLOCK_MULTIPLIER ^ low);
}

// One of so many places, by 32 bits of a hash: a table has as many as its rules need, and need not
// be a power of two.
static inline __attribute__((always_inline)) __u32 block_place_of(__u64 bits, __u64 places)
{
	return bits * places >> 32;
}

// The bucket of a rule with this hash.
static inline __attribute__((always_inline)) __u32 block_bucket_of(__u64 hash, __u64 buckets)
{
	return block_place_of(hash >> 16 & 0xffffffff, buckets);
}

// Which line of the filter has the bits of a rule. Rules share a line with all others that
// start with the same bits: of IPv4 rules the first 24, or of one up to /23 the first 16; of
// IPv6 rules the first 64, 48 or 32, whatever a rule has, or 16.
static inline __attribute__((always_inline)) __u32 block_line_of(__u64 first_bits, __u64 how_many,
								 __u64 seed, __u64 lines)
{
	return block_place_of(block_mix(first_bits ^ how_many << 56 ^ seed) >> 32, lines);
}

// Which of the line's words, and which bits of it. Two bits err three times as often as three
// would, but take less time to look at than that costs.
static inline __attribute__((always_inline)) __u64 block_word_of(__u64 hash)
{
	return hash >> 49 & 7;
}

static inline __attribute__((always_inline)) __u64 block_bits_of(__u64 hash)
{
	return 1ull << (hash >> 58) | 1ull << (hash >> 52 & 63);
}
