// The IP blocklist: what the maps of blocklist.bpf.c hold, for the program and for whoever fills them.
// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A packet costs as many cache lines as it touches, so everything here is about touching few.
// Where an IPv4 rule is depends on its length:
//
//   /17 to /32   a slot of `buckets`, a hash table of 15 keys a cache line, which is all that a
//                listed packet must wait for. The rule's counters are in `rules`, a second
//                line, which the processor fetches while the program is done already.
//   /0 to /16    `wide`, a hash map of the kernel's, and exactly one bit of `heads`.
//
// Three looks keep packets away from tables that they are not in:
//
//   heads        for each /16 which lengths of rules are in it or cover it: one word
//   filter       for each /24 and for each /16 a cache line of bits, two for each rule of /17
//                to /32 in it. A bit may be set without a rule, never the other way round.
//   config       which lengths there are at all
//
// IPv6 rules are in `wide` too, those with one of 16 lengths that config names, and otherwise in
// `trie6`. The further pages of `heads` have one word for each value of a hash of an address's first
// 32 bits: which of the 16 lengths it has.
//
// Whoever changes rules keeps to an order, so that packets never see half of a rule: a new one
// is first written where it will be, then made present, and its bits are set before that; bits
// are cleared after a rule is gone, or never. Among rules that match, the shortest counts.
//
// Times are numbers of 2^30 ns (1.07 s) of CLOCK_MONOTONIC, for which a shift is enough.
#pragma once

#include <linux/types.h>

#define BLOCK_KEYS 15
// How many buckets a key may be in: the one that its hash says, and its neighbours.
#define BLOCK_PROBES 4
#define BLOCK_HEADS_PER_PAGE 1024
// Pages of heads for the /16s of IPv4, and behind them for IPv6.
#define BLOCK_HEAD_PAGES4 64
#define BLOCK_HEAD_PAGES6 4
#define BLOCK_LENGTHS6 16
#define BLOCK_TIME_SHIFT 30

enum block_flags {
	// Count what would be dropped, and let it pass.
	BLOCK_COUNT_ONLY = 1,
	// Drop what no rule is about, unless it is allowed.
	BLOCK_DEFAULT_DROP = 2,
	// There are entries in allow4, allow6, trie6.
	BLOCK_HAS_ALLOW4 = 4,
	BLOCK_HAS_ALLOW6 = 8,
	BLOCK_HAS_TRIE6 = 16,
};

// The only entry of `config`.
struct block_config {
	__u32 flags;
	// Bit 32 - length for each length of IPv4 rules in use, but for /0: that is `any4`.
	__u32 lengths4;
	__u32 any4;
	// How many buckets there are, and lines of the filter, less one: both are powers of two.
	__u32 bucket_mask;
	__u32 line_mask;
	// Goes into each hash, so that nobody can choose addresses which share a bucket.
	__u32 seed;
	// The lengths of IPv6 rules in `wide`; 255 for none.
	__u8 lengths6[BLOCK_LENGTHS6];
};

// A cache line of `buckets`.
struct block_bucket {
	// Bits 0 to 14: the key is present. Bits 15 to 29: it is a prefix, not a single address. Bit 30: some rule
	// here has an end. Bit 31: keys that belong here are in the next bucket.
	__u32 header;
	// A single address as a number, or a prefix as `block_code()` writes it.
	__u32 keys[BLOCK_KEYS];
};

#define BLOCK_IS_PREFIX_SHIFT 15
#define BLOCK_HAS_END (1u << 30)
#define BLOCK_GOES_ON (1u << 31)

// A rule: in `rules` at 16 * bucket + slot, and the value of `wide` and `trie6`.
struct block_rule {
	// Packets and bytes that it has dropped or would have. Two processors that count at the same
	// moment may count one packet.
	__u64 packets;
	__u64 bytes;
	// When it ends; 0 for never.
	__u32 end;
	// Bit n: set n holds it. Of no interest to the program.
	__u32 sets;
};

// Key of `wide`.
struct block_wide_key {
	// 4 or 6 in the high half, the length in the low one.
	__u32 family_length;
	// The prefix, all bits behind it 0; of IPv4 in the first four bytes.
	__u8 address[16];
};

// Keys of allow4, and of allow6 and trie6.
struct block_prefix4 {
	__u32 length;
	__u8 address[4];
};

struct block_prefix6 {
	__u32 length;
	__u8 address[16];
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

struct block_count {
	__u64 packets;
	__u64 bytes;
};

// A value of `counters`, at the interface's index modulo 256, on each CPU.
struct block_counters {
	__u32 ifindex;
	__u32 padding;
	struct block_count verdicts[BLOCK_VERDICTS];
};

// A page of `heads`, and a line of `filter`.
struct block_heads {
	__u32 lengths[BLOCK_HEADS_PER_PAGE];
};

struct block_line {
	__u64 bits[8];
};

// The numbers that hashes multiply by: odd ones without a pattern (from the golden ratio, and a prime).
#define BLOCK_MULTIPLIER 0x9e3779b97f4a7c15ull
