# What the blocklist costs a packet, beside a plain hash and a plain trie, in one run.
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Measures the packet program of the blocklist against its peers.

Packets come from random addresses of a list, and what is told is what one costs the processor that receives it;
benches/veth.py says how. The programs take turns, and the least and the middle of several rounds are told, because
others may use the machine. The last column is of the lookup alone, over as many addresses, without packets.

Clean packets are dropped as well, by the default, so that the network stack has no part.

Needs root, clang, bpftool, ip, and Linux 6.0 or newer.
"""

import argparse
import array
import ctypes
import os
import random
import struct
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from process import make_room
from veth import ADDRESSES, TEST_RUN, Receiver, Rig, bpf, clean_up, compile_and_pin, pinned, test_run_attr
from veth import update, update_all

MASK64 = (1 << 64) - 1
MULTIPLIER = 0x9E3779B97F4A7C15
DEFAULT_DROP = 2
FINE_HEADS = 64
# Room for more rules than this has fine heads, as the crate makes them.
MOST_COARSE = 1 << 18
SLASH19S = 1 << 19
OVERFLOWS = 1 << 31


def mix(number):
    number = number * MULTIPLIER & MASK64
    number ^= number >> 32
    return number * MULTIPLIER & MASK64


def heads_of(max_rules):
    """How many lines `heads` has."""
    return 2 * SLASH19S // 16 if max_rules > MOST_COARSE else 4_096


class Tables:
    """The maps of blocklist.h for IPv4 rules, as bytes. Knows one way of filling them; the crate has its own."""

    def __init__(self, max_rules, seed):
        self.seed = seed
        self.buckets = max_rules // 8
        self.lines = max_rules // 32
        self.bucket_words = array.array("I", bytes(64 * self.buckets))
        self.filter_words = array.array("Q", bytes(64 * self.lines))
        self.is_fine = max_rules > MOST_COARSE
        self.heads = array.array("I", bytes(64 * heads_of(max_rules)))
        self.wide = []
        self.lengths = 0

    def add(self, prefix, length):
        bit = 1 << (32 - length)
        self.lengths |= bit
        if self.is_fine:
            self.tell_fine_heads(prefix, length)
        else:
            for n in range(prefix >> 16, (prefix >> 16) + (1 << max(0, 16 - length))):
                self.heads[n] |= bit
        if length < 17:
            self.wide.append((prefix, length))
            return
        code = prefix if length == 32 else prefix | 1 << (31 - length)
        digest = mix((code | (length != 32) << 32) ^ self.seed)
        how_many = 24 if length >= 24 else 16
        line = (mix(prefix >> (32 - how_many) ^ how_many << 56 ^ self.seed) >> 32) * self.lines >> 32
        self.filter_words[8 * line + (digest >> 49 & 7)] |= 1 << (digest >> 58) | 1 << (digest >> 52 & 63)
        at = 16 * ((digest >> 16 & 0xFFFFFFFF) * self.buckets >> 32)
        header = self.bucket_words[at]
        slot = (header & 0x7FFF).bit_count()
        if slot == 15:
            self.bucket_words[at] = header | OVERFLOWS
            self.wide.append((prefix, length))
            return
        self.bucket_words[at] = header | 1 << slot | (length != 32) << 15 + slot
        self.bucket_words[at + 1 + slot] = code

    def tell_fine_heads(self, prefix, length):
        for slash19 in range(prefix >> 13, (prefix >> 13) + (1 << max(0, 19 - length))):
            self.heads[SLASH19S + slash19] |= 1 << (32 - length)
            if length < 20:
                self.heads[slash19] = 0xFFFFFFFF
            else:
                self.heads[slash19] |= (1 << (1 << max(0, 24 - length))) - 1 << (prefix >> 8 & 31)

    def write(self, flags):
        for name, words, count in (
            ("buckets", self.bucket_words, self.buckets),
            ("filter", self.filter_words, self.lines),
            ("heads", self.heads, len(self.heads) // 16),
        ):
            update_all(name, array.array("I", range(count)).tobytes(), words.tobytes(), count)
        keys = b"".join(struct.pack("=I", 4 << 16 | n) + p.to_bytes(4, "big") + bytes(12) for p, n in self.wide)
        update_all("wide", keys, bytes(24 * len(self.wide)), len(self.wide))
        numbers = flags | FINE_HEADS * self.is_fine, self.lengths, 0, self.buckets, self.lines, self.seed, 0, 0
        update("config", bytes(4), struct.pack("=8IQQ", *numbers, 0, 0))


def singles(count):
    rules = set()
    while len(rules) < count:
        rules.add(random.getrandbits(32))
    return [(address, 32) for address in rules]


def mixed(count):
    """Half single addresses, half prefixes of /16 to /31, each length equally often."""
    rules = set()
    while len(rules) < count:
        length = 32 if random.getrandbits(1) else random.randint(16, 31)
        rules.add((random.getrandbits(32) >> (32 - length) << (32 - length), length))
    return list(rules)


def listed_addresses(rules):
    chosen = random.choices(rules, k=ADDRESSES)
    return [prefix | random.getrandbits(32 - length) if length < 32 else prefix for prefix, length in chosen]


def clean_addresses(rules):
    """Random addresses that no rule is about."""
    by_length = {}
    for prefix, length in rules:
        by_length.setdefault(length, set()).add(prefix)
    addresses = []
    while len(addresses) < ADDRESSES:
        address = random.getrandbits(32)
        if not any(address >> 32 - n << 32 - n in there for n, there in by_length.items()):
            addresses.append(address)
    return addresses


def fill(rules, max_rules, source):
    numbers = rules
    big = array.array("I", [prefix for prefix, _ in numbers])
    big.byteswap()
    only_singles = all(length == 32 for _, length in rules)
    if only_singles:
        update_all("plain_hash", big.tobytes(), bytes(8 * len(rules)), len(rules))
    keys = b"".join(struct.pack("=I", n) + p.to_bytes(4, "big") for p, n in sorted(rules))
    update_all("plain_trie", keys, bytes(8 * len(rules)), len(rules))
    tables = Tables(max_rules, random.getrandbits(32))
    for prefix, length in rules:
        tables.add(prefix, length)
    tables.write(DEFAULT_DROP)
    sources = array.array("I", source(rules))
    sources.byteswap()
    update_all("addresses", array.array("I", range(ADDRESSES)).tobytes(), sources.tobytes(), ADDRESSES)
    return only_singles


def micro(name):
    data = ctypes.create_string_buffer(64)
    with pinned(f"micro_{name}") as fd:
        _, answer = bpf(TEST_RUN, test_run_attr(fd, data, repeat=1))
    return struct.unpack_from("I", answer, 36)[0] / ADDRESSES


CASES = {
    "1,000 single addresses": (singles, 1_000, listed_addresses),
    "10,000 single addresses": (singles, 10_000, listed_addresses),
    "1,000,000 single addresses": (singles, 1_000_000, listed_addresses),
    "1,000,000 mixed prefixes": (mixed, 1_000_000, listed_addresses),
    "clean against 1,000,000 single": (singles, 1_000_000, clean_addresses),
    "clean against 1,000,000 mixed": (mixed, 1_000_000, clean_addresses),
}


def measure_case(make, count, source, arguments, scratch):
    max_rules = max(65_536, count)
    compile_and_pin("blocklist/programs.bpf.c", scratch, f"-DMAX_RULES={max_rules}", f"-DHEADS={heads_of(max_rules)}")
    only_singles = fill(make(count), max_rules, source)
    programs = ["bare", "xdp_blocklist"] + ["hash"] * only_singles + ["trie"]
    rig, receiver = Rig(), Receiver("blocked")
    times, lookups = {p: [] for p in programs}, {p: [] for p in programs}
    for _ in range(arguments.rounds):
        for program in programs:
            receiver.attach(program)
            times[program].append(rig.measure(receiver, arguments.packets))
            lookups[program].append(micro(program.removeprefix("xdp_")))
    clean_up()
    for program in programs:
        least, middle = min(times[program]), sorted(times[program])[arguments.rounds // 2]
        net = min(lookups[program]) - min(lookups["bare"])
        print(f"  {program:14} {least:7.0f} {middle:7.0f} {least - min(times['bare']):10.0f} {net:10.0f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="how often each program has its turn (default: 7)")
    parser.add_argument("--packets", type=int, default=1_000_000, help="packets sent a turn (default: 1,000,000)")
    parser.add_argument("cases", nargs="*", metavar="CASE", help="words that a case must have (default: all cases)")
    arguments = parser.parse_args()
    random.seed(1)
    make_room()
    print("ns per packet:      least  middle  over bare   lookup")
    with tempfile.TemporaryDirectory() as scratch:
        for name, case in CASES.items():
            if not arguments.cases or any(word in name for word in arguments.cases):
                print(name, flush=True)
                try:
                    measure_case(*case, arguments, scratch)
                finally:
                    clean_up()


if __name__ == "__main__":
    main()
