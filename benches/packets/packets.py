# What dropping a packet costs in each place where Linux can drop one.
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Measures what a dropped packet costs its receiver, by XDP, tc, nftables, iptables and the whole stack.

Each of them has a veth pair and a namespace of its own, and they take turns; benches/veth.py says how it is measured.
First each drops every packet without looking at it. Then they drop what comes from one of 1 to 10,000 addresses, and
every packet comes from one of them. Writes the part `packets` of docs/benchmarks.md and two charts.

Needs root, clang, bpftool, ip, tc, nft, iptables, and Linux 6.0 or newer.
"""

import argparse
import os
import random
import statistics
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import chart
import page
from process import make_room
from veth import BPFFS, ROOT, Receiver, Rig, clean_up, compile_and_pin, update_all

SIZES = 1, 10, 100, 1_000, 10_000
XDP_DROP = f"{ROOT}/loader/tests/fixtures/clang-19/xdp_drop.o"
XDPLOAD = os.environ.get("XDPLOAD", "xdpload")


def xdp(mode):
    return lambda at: at.run(XDPLOAD, "attach", at.name, XDP_DROP, "--mode", mode)


def tc(at):
    at.run("tc", "qdisc", "add", "dev", at.name, "clsact")
    program = f"{BPFFS}/tc_drop"
    at.run("tc", "filter", "add", "dev", at.name, "ingress", "bpf", "direct-action", "pinned", program)


def nft(family, hook, rule, items=""):
    def install(at):
        chain = f"chain c {{ type filter hook {hook.format(at.name)}; {rule}; }}"
        at.run("nft", "-f", "-", input=f"table {family} bench {{ {items}\n{chain}\n}}\n".encode())

    return install


NETDEV = "netdev", "ingress device {} priority 0"
RAW = "ip", "prerouting priority -300"


def iptables(table, chain, rules):
    def install(at):
        lines = [f"*{table}", *(f"-A {chain} {rule}-j DROP" for rule in rules), "COMMIT", ""]
        at.run("iptables-legacy-restore", input="\n".join(lines).encode())

    return install


UNFILTERED = "no filter, closed port"
# Each drops all that comes.
PLAIN = {
    "XDP native": xdp("native"),
    "XDP generic": xdp("generic"),
    "tc clsact, BPF": tc,
    "nftables netdev ingress": nft(*NETDEV, "drop"),
    "nftables prerouting, raw": nft(*RAW, "drop"),
    "iptables PREROUTING, raw": iptables("raw", "PREROUTING", [""]),
    "iptables INPUT": iptables("filter", "INPUT", [""]),
    UNFILTERED: lambda at: None,
}


def blocklist(mode, addresses):
    """`xdpload block`, in a mount namespace of its own; the program stays when its pins go."""

    def install(at):
        with tempfile.NamedTemporaryFile("w") as listed:
            listed.write("".join(f"{address}\n" for address in addresses))
            listed.flush()
            script = (
                'mount --make-rprivate / && mount -t bpf bpf /sys/fs/bpf && mount -t tmpfs tmpfs /run && '
                '"$0" block on "$1" --mode "$2" && "$0" block load "$3" --force'
            )
            command = ["unshare", "--mount", "sh", "-c", script, XDPLOAD, at.name, mode, listed.name]
            at.run(*command, stderr=subprocess.DEVNULL)

    return install


def listing(addresses):
    """The same for each that drops by a list."""
    in_set = f"set s {{ type ipv4_addr; elements = {{ {', '.join(addresses)} }}; }}"
    rules = [f"-s {address} " for address in addresses]
    return {
        "XDP native, blocklist": blocklist("native", addresses),
        "XDP generic, blocklist": blocklist("generic", addresses),
        "nftables netdev, set": nft(*NETDEV, "ip saddr @s drop", in_set),
        "nftables raw, set": nft(*RAW, "ip saddr @s drop", in_set),
        "iptables raw, rules": iptables("raw", "PREROUTING", rules),
        "iptables INPUT, rules": iptables("filter", "INPUT", rules),
    }


def dotted(address):
    return ".".join(str(byte) for byte in address.to_bytes(4, "big"))


def contestants(sources):
    """Everybody with a receiver: (name, number of addresses, receiver)."""
    found = []
    for name, install in PLAIN.items():
        found.append((name, 0, install))
    for size in SIZES:
        found += [(name, size, install) for name, install in listing([dotted(a) for a in sources[:size]]).items()]
    ready = []
    for index, (name, size, install) in enumerate(found):
        at = Receiver(f"n{index}")
        install(at)
        ready.append((name, size, at))
    return ready


def measure(arguments):
    sources = random.sample(range(10 << 24, 11 << 24), max(SIZES))
    with tempfile.TemporaryDirectory() as scratch:
        compile_and_pin("packets/programs.bpf.c", scratch)
    packed = b"".join(address.to_bytes(4, "big") for address in sources)
    update_all("addresses", struct.pack(f"={len(sources)}I", *range(len(sources))), packed, len(sources))
    rig = Rig()
    ready = contestants(sources)
    times = {(name, size): [] for name, size, _ in ready}
    for _ in range(arguments.rounds):
        for name, size, at in ready:
            times[name, size].append(rig.measure(at, arguments.packets, size or max(SIZES)))
    for name, _, at in ready:
        # Whoever let packets pass has not been measured at dropping them.
        if (at.unwanted() > 0) != (name == UNFILTERED):
            sys.exit(f"{name}: {at.unwanted()} packets have reached the end of the stack")
    return times


def report(times, arguments):
    plain = {name: times[name, 0] for name in PLAIN}
    first = plain["XDP native"]
    rows = []
    for name, numbers in plain.items():
        ratio = page.spread([n / ours for n, ours in zip(numbers, first)], "{:.1f}")
        rows.append([name, page.spread(numbers, "{:.0f}"), ratio])
    names = list(listing([]))
    grown = [[name, *(f"{statistics.median(times[name, size]):,.0f}" for size in SIZES)] for name in names]
    low_high_middle = [(name, min(n), statistics.median(n), max(n)) for name, n in plain.items()]
    unit = "ns of the receiver's processor for each packet: the middle of the rounds, the line from least to most"
    page.write_chart("packets", chart.bars("A dropped packet", unit, low_high_middle))
    series = {name: [(size, statistics.median(times[name, size])) for size in SIZES] for name in names}
    title = "A dropped packet, by the addresses in the list"
    y_name = "ns of the receiver's processor for each packet"
    page.write_chart("packets-by-list", chart.lines(title, "addresses in the list", y_name, series))
    versions = [page.first_line(XDPLOAD, "--version"), page.first_line("ip", "-V")]
    versions += [page.first_line("nft", "--version"), page.first_line("iptables-legacy", "--version")]
    script = f"scripts/bench/packets --rounds {arguments.rounds} --packets {arguments.packets}"
    page.write_part(
        "packets",
        f"{page.measured(script, versions)}\n![Bars of the first table](packets.svg)\n\n"
        "Nanoseconds, least / middle / most of the rounds; the ratio is that of the turns of one round:\n\n"
        + page.table(["drops everything", "ns a packet", "times XDP native"], rows)
        + "\n![Lines of the second table](packets-by-list.svg)\n\n"
        "Packets from random addresses of a list that is dropped, nanoseconds, middle of the rounds:\n\n"
        + page.table(["addresses in the list", *(f"{size:,}" for size in SIZES)], grown),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="how often each has its turn (default: 7)")
    parser.add_argument("--packets", type=int, default=500_000, help="packets sent a turn (default: 500,000)")
    arguments = parser.parse_args()
    random.seed(1)
    make_room()
    try:
        times = measure(arguments)
    finally:
        clean_up()
    report(times, arguments)


if __name__ == "__main__":
    main()
