# What the blocklist costs a packet, beside a plain hash and a plain trie, in one run.
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Measures the packet program of the blocklist against its peers.

Two namespaces and a veth pair are made for it. A program that runs on live frames
(BPF_F_TEST_XDP_LIVE_FRAMES) sends packets from random addresses of a list; the receiving end has
threaded NAPI, and what counts is the processor time of that one thread (its schedstat) for each
packet that it has taken and dropped. Most are lost before, in the full ring between the two. The
programs take turns, and the least and the middle of several rounds are told, because others may
use the machine. The last column is of the lookup alone, over as many addresses, without packets.

Clean packets are dropped as well, by the default, so that the network stack has no part.

Needs root, clang, bpftool, ip, and Linux 6.0 or newer.
"""

import argparse
import array
import ctypes
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BPFFS = "/sys/fs/bpf/blocklist-bench"
NAMESPACES = NEAR, FAR = "blocklist-bench-near", "blocklist-bench-far"
ADDRESSES = 1 << 20
MASK64 = (1 << 64) - 1
MULTIPLIER = 0x9E3779B97F4A7C15
SYS_BPF = {"x86_64": 321, "aarch64": 280}.get(os.uname().machine)
UPDATE, OBJ_GET, TEST_RUN, UPDATE_BATCH = 2, 7, 10, 26
LIVE_FRAMES = 2
DEFAULT_DROP = 2
OVERFLOWS = 1 << 31

LIBC = ctypes.CDLL(None, use_errno=True)


def bpf(command, attr):
    """Calls bpf(2) with the bytes of an attr, and returns what it answers."""
    buffer = ctypes.create_string_buffer(attr, 128)
    answer = LIBC.syscall(SYS_BPF, command, buffer, 128)
    if answer < 0:
        raise OSError(ctypes.get_errno(), f"bpf command {command}")
    return answer, buffer.raw


def pinned(name):
    path = ctypes.create_string_buffer(f"{BPFFS}/{name}".encode())
    return bpf(OBJ_GET, struct.pack("QI", ctypes.addressof(path), 0))[0]


def update(name, key, value):
    key, value = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(value, len(value))
    fd = pinned(f"maps/{name}")
    bpf(UPDATE, struct.pack("IIQQQ", fd, 0, ctypes.addressof(key), ctypes.addressof(value), 0))
    os.close(fd)


def update_all(name, keys, values, count):
    """Fills a map with so many entries, by bytes that lie one behind the other."""
    if count == 0:
        return
    keys = (ctypes.c_char * len(keys)).from_buffer(bytearray(keys))
    values = (ctypes.c_char * len(values)).from_buffer(bytearray(values))
    fd = pinned(f"maps/{name}")
    where = struct.pack("QQQQIIQQ", 0, 0, ctypes.addressof(keys), ctypes.addressof(values), count, fd, 0, 0)
    bpf(UPDATE_BATCH, where)
    os.close(fd)


def test_run_attr(fd, data, repeat, flags=0, batch_size=0):
    sizes = len(data), 0
    return struct.pack(
        "IIIIQQIIIIQQIII", fd, 0, *sizes, ctypes.addressof(data), 0, repeat, 0, 0, 0, 0, 0, flags, 0, batch_size
    )


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def mix(number):
    number = number * MULTIPLIER & MASK64
    number ^= number >> 32
    return number * MULTIPLIER & MASK64


class Tables:
    """The maps of blocklist.h for IPv4 rules, as bytes. Knows one way of filling them; the crate has its own."""

    def __init__(self, max_rules, seed):
        self.seed = seed
        self.buckets = max_rules // 8
        self.lines = max_rules // 32
        self.bucket_words = array.array("I", bytes(64 * self.buckets))
        self.filter_words = array.array("Q", bytes(64 * self.lines))
        self.heads = array.array("I", bytes(4 * 65536))
        self.wide = []
        self.lengths = 0

    def add(self, prefix, length):
        bit = 1 << (32 - length)
        self.lengths |= bit
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

    def write(self, flags):
        for name, words, count in (
            ("buckets", self.bucket_words, self.buckets),
            ("filter", self.filter_words, self.lines),
            ("heads", self.heads, 4096),
        ):
            update_all(name, array.array("I", range(count)).tobytes(), words.tobytes(), count)
        keys = b"".join(struct.pack("=I", 4 << 16 | n) + p.to_bytes(4, "big") + bytes(12) for p, n in self.wide)
        update_all("wide", keys, bytes(24 * len(self.wide)), len(self.wide))
        numbers = flags, self.lengths, 0, self.buckets, self.lines, self.seed, 0, 0
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


class Rig:
    """A veth pair between two namespaces, and the thread that takes the packets at its near end."""

    def __init__(self):
        for name in NAMESPACES:
            run("ip", "netns", "add", name)
        run("ip", "link", "add", "near0", "netns", NEAR, "type", "veth", "peer", "far0", "netns", FAR)
        for name, interface in (NEAR, "near0"), (FAR, "far0"):
            path = f"net.ipv6.conf.{interface}.disable_ipv6=1"
            run("ip", "netns", "exec", name, "sysctl", "-q", "-w", path)
            run("ip", "-n", name, "link", "set", interface, "up")
        self.attach("bare")
        self.near("echo 1 > /sys/class/net/near0/threaded")
        self.thread = self.find_thread()
        # On one processor the thread takes what the sender has left in the ring, some 256 packets, whenever it gets
        # its turn: each program then has as many for each time it is woken, however fast it is.
        os.sched_setaffinity(self.thread, {0})
        os.sched_setaffinity(0, {0})
        index = subprocess.check_output(["ip", "netns", "exec", FAR, "cat", "/sys/class/net/far0/ifindex"])
        update("outlet", bytes(4), struct.pack("=I", int(index)))

    def near(self, script):
        return subprocess.check_output(
            ["ip", "netns", "exec", NEAR, "sh", "-c", script], text=True
        )

    @staticmethod
    def find_thread():
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/comm") as comm:
                    if comm.read().startswith("napi/near0"):
                        return int(pid)
            except OSError:
                pass
        sys.exit("there is no thread napi/near0: is NAPI threaded here?")

    def attach(self, program):
        # `ip -n` would hide bpffs under a sysfs of its own.
        run(
            "nsenter", f"--net=/run/netns/{NEAR}",
            "ip", "-force", "link", "set", "near0", "xdpdrv", "pinned", f"{BPFFS}/{program}",
        )

    def seen(self):
        return int(self.near("cat /sys/class/net/near0/statistics/rx_packets"))

    def busy(self):
        with open(f"/proc/{self.thread}/schedstat") as stat:
            return int(stat.read().split()[0])

    def measure(self, program, packets):
        """Nanoseconds of the thread for each packet."""
        self.attach(program)
        self.send(packets // 8)
        seen, busy = self.seen(), self.busy()
        self.send(packets)
        time.sleep(0.02)
        return (self.busy() - busy) / (self.seen() - seen)

    @staticmethod
    def send(packets):
        # Addresses, type, an IPv4 header whose source is still to be written, and a payload, in 60 bytes.
        frame = bytes(12) + b"\x08\x00" + b"\x45\0\0\x2e\0\0\0\0\x40\x11" + bytes(36)
        data = ctypes.create_string_buffer(frame, len(frame))
        fd = pinned("sender")
        attr = test_run_attr(fd, data, repeat=packets, flags=LIVE_FRAMES, batch_size=256)
        with open(f"/run/netns/{FAR}") as there, open("/proc/self/ns/net") as here:
            LIBC.setns(there.fileno(), 0)
            try:
                bpf(TEST_RUN, attr)
            finally:
                LIBC.setns(here.fileno(), 0)
        os.close(fd)


def micro(name):
    data = ctypes.create_string_buffer(64)
    fd = pinned(f"micro_{name}")
    attr = test_run_attr(fd, data, repeat=1)
    _, answer = bpf(TEST_RUN, attr)
    os.close(fd)
    return struct.unpack_from("I", answer, 36)[0] / ADDRESSES


def load(max_rules, scratch):
    path = f"{scratch}/blocklist.o"
    flags = f"-O2 -g -mcpu=v1 -DMAX_RULES={max_rules} -nostdinc -Ivendor-headers".split()
    clang = os.environ.get("CLANG") or shutil.which("clang-19") or "clang"
    source = "benches/blocklist/programs.bpf.c"
    subprocess.run([clang, "-target", "bpf", *flags, "-c", source, "-o", path], check=True, cwd=ROOT)
    run("bpftool", "prog", "loadall", path, BPFFS, "pinmaps", f"{BPFFS}/maps")


def clean_up():
    for name in NAMESPACES:
        subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL)
    shutil.rmtree(BPFFS, ignore_errors=True)


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
    load(max_rules, scratch)
    only_singles = fill(make(count), max_rules, source)
    programs = ["bare", "xdp_blocklist"] + ["hash"] * only_singles + ["trie"]
    rig = Rig()
    times, lookups = {p: [] for p in programs}, {p: [] for p in programs}
    for _ in range(arguments.rounds):
        for program in programs:
            times[program].append(rig.measure(program, arguments.packets))
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
    clean_up()
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
