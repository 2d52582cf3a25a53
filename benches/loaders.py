# What attaching an object costs the processor, by ours and by other loaders, above the least that it can cost.
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Attaches objects to one of eight veth interfaces, takes them off and asks what is there, by several loaders in turn.

Told are the processor time of the whole process (perf stat), its system calls (strace) and the
largest memory (VmHWM).
Writes the part `loads` of docs/benchmarks.md. Runs in network and mount namespaces of its own, made by
scripts/bench/load.

Needs root, perf, strace, ip, bpftool, xdp-loader and what scripts/bench/peers has built.
"""

import argparse
import os
import re
import statistics
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import page
from process import make_room, processor_time, succeed
from replay import Floor, peak_memory

FIXTURES = f"{page.ROOT}/loader/tests/fixtures"
XDPLOAD = os.environ["XDPLOAD"]
PEERS = os.environ["PEERS"]

# name: what it is, path, program
OBJECTS = {
    "tiny": ("2 instructions", "clang-19/xdp_drop.o", "xdp_drop"),
    "blacklist": ("35 instructions, a hash map", "clang-19/blacklist.o", "xdp_ip_filter"),
    "medium": ("145 instructions, 5 maps", "big/protocols.o", "count_and_drop"),
    "medium, CO-RE": ("197 instructions", "clang-19/core_fields.o", "look"),
    "big": ("7,569 instructions, 20 subprograms, 280 CO-RE relocations", "big/core_functions.o", "mix_all"),
    "many maps": ("4,089 instructions, 20 subprograms, 20 maps", "big/functions_and_maps.o", "mix_all"),
}
AYA_LINK = "/sys/fs/bpf/with-aya"
BPFTOOL_PIN = "/sys/fs/bpf/bench"

# name: (attach OBJECT PROGRAM, detach, status); None where a tool has nothing of the kind.
TOOLS = {
    # Made for each object: replay.py.
    "floor": (lambda o, p: [], [], None),
    "xdpload": (
        lambda o, p: [XDPLOAD, "attach", "v0", o],
        [XDPLOAD, "detach", "v0"],
        [XDPLOAD, "status", "v0"],
    ),
    # With an option there is something to parse.
    "xdpload --prog": (
        lambda o, p: [XDPLOAD, "attach", "v0", o, "--prog", p],
        [XDPLOAD, "detach", "v0"],
        None,
    ),
    "libbpf, static C": (
        lambda o, p: [f"{PEERS}/with-libbpf", "attach", "v0", o, p],
        [f"{PEERS}/with-libbpf", "detach", "v0"],
        None,
    ),
    "libbpf-rs": (
        lambda o, p: [f"{PEERS}/release/with-libbpf-rs", "attach", "v0", o, p],
        [f"{PEERS}/release/with-libbpf-rs", "detach", "v0"],
        None,
    ),
    "aya": (lambda o, p: [f"{PEERS}/release/with-aya", "attach", "v0", o, p], ["rm", AYA_LINK], None),
    "ip": (
        lambda o, p: ["ip", "link", "set", "dev", "v0", "xdpdrv", "obj", o, "program", p],
        ["ip", "link", "set", "dev", "v0", "xdpdrv", "off"],
        ["ip", "link", "show", "dev", "v0"],
    ),
    "bpftool": (
        lambda o, p: ["bpftool", "prog", "load", o, BPFTOOL_PIN, "type", "xdp"],
        ["rm", BPFTOOL_PIN],
        ["bpftool", "net", "show", "dev", "v0"],
    ),
    "xdp-loader": (
        lambda o, p: ["xdp-loader", "load", "--mode", "native", "--prog-name", p, "v0", o],
        ["xdp-loader", "unload", "v0", "--all"],
        ["xdp-loader", "status", "v0"],
    ),
}
# Whose detach is not told: to remove a pin is no work of theirs, and xdpload's is told already.
ONLY_ATTACH = "aya", "bpftool", "xdpload --prog"


def system_calls(command):
    """How many, and how many of them are bpf(2). The first, execve(2), is made by who starts the program."""
    said = succeed(["strace", "-f", "-qq", *command])
    _, *names = re.findall(r"^(?:\[pid +\d+\] )?(\w+)\(", said, re.MULTILINE)
    return len(names), names.count("bpf")


class Bench:
    """What has been measured of one object: lists of milliseconds by tool and work, and what is counted once."""

    def __init__(self, name, scratch):
        _, path, self.program = OBJECTS[name]
        self.object = f"{FIXTURES}/{path}"
        self.floor = Floor(XDPLOAD, "v0", self.object, self.program, scratch)
        self.times, self.counts = {}, {}

    def works(self, tool):
        """(work, command) in order."""
        attach, detach, status = TOOLS[tool]
        attach, detach = attach(self.object, self.program), list(detach)
        if tool == "floor":
            attach, detach = [self.floor.attach], [self.floor.detach]
        found = [("attach", attach), ("status", status), ("detach", detach)]
        return [(work, command) for work, command in found if command]

    def once(self, tool):
        for work, command in self.works(tool):
            self.counts[tool, work] = system_calls(command)
        for work, command in self.works(tool):
            self.counts[tool, work] += (peak_memory(command),)

    def turn(self):
        for tool in TOOLS:
            for work, command in self.works(tool):
                self.times.setdefault((tool, work), []).append(processor_time(command))

    def rows(self):
        for work in "attach", "status", "detach":
            ours = self.times["xdpload", work]
            least = self.times.get(("floor", work))
            for tool in TOOLS:
                numbers = self.times.get((tool, work))
                if not numbers or (work == "detach" and tool in ONLY_ATTACH):
                    continue
                above = "" if not least else f"{statistics.median(numbers) - statistics.median(least):+.2f}"
                ratio = page.spread([n / our for n, our in zip(numbers, ours)], "{:.1f}")
                calls, of_bpf, kilobytes = self.counts[tool, work]
                shown = "" if tool == "floor" else above
                yield [f"{work} {tool}", page.spread(numbers), shown, ratio, f"{calls:,} ({of_bpf})", f"{kilobytes:,}"]


def several(rounds):
    """Milliseconds on the clock of one attach to one and to eight interfaces."""
    path = f"{FIXTURES}/clang-19/xdp_drop.o"
    times = {1: [], 8: []}
    for _ in range(rounds):
        for count, numbers in times.items():
            names = [f"v{n}" for n in range(count)]
            begin = time.perf_counter()
            succeed([XDPLOAD, "attach", *names, path])
            numbers.append(1000 * (time.perf_counter() - begin))
            for name in names:
                succeed([XDPLOAD, "detach", name])
    return times


def report(benches, wall, arguments):
    names = page.first_line(XDPLOAD, "--version"), page.first_line("ip", "-V"), page.first_line("bpftool", "version")
    with open(f"{page.ROOT}/benches/peers/Cargo.lock") as lock:
        locked = lock.read().split("[[package]]")
    crates = [
        f"{crate} " + next(part.split('version = "')[1].split('"')[0] for part in locked if f'name = "{crate}"' in part)
        for crate in ("libbpf-rs", "aya")
    ]
    versions = [*names, page.package("xdp-tools"), page.package("libbpf-dev"), *crates]
    parts = [page.measured(f"scripts/bench/load --rounds {arguments.rounds}", versions)]
    head = ["", "CPU ms: least / middle / most", "over the floor", "times xdpload", "system calls (of bpf)", "kB"]
    for name, bench in benches.items():
        what, path, _ = OBJECTS[name]
        parts.append(f"\n### {name}: `{path}`, {what}\n\n" + page.table(head, bench.rows()))
    rows = [[f"{count}", page.spread(numbers)] for count, numbers in wall.items()]
    ratio = statistics.median(wall[8]) / statistics.median(wall[1])
    parts.append("\n### One load for several interfaces\n\n" + page.table(["interfaces", "ms on the clock"], rows))
    parts.append(f"\nThe middle of eight is {ratio:.2f} times that of one.\n")
    page.write_part("loads", "".join(parts))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="how often each has its turn (default: 9)")
    arguments = parser.parse_args()
    make_room()
    for n in range(8):
        succeed(["ip", "link", "add", f"v{n}", "type", "veth", "peer", f"w{n}"])
        for interface in f"v{n}", f"w{n}":
            succeed(["ip", "link", "set", interface, "up"])
    with tempfile.TemporaryDirectory() as scratch:
        benches = {}
        for name in OBJECTS:
            bench = benches[name] = Bench(name, tempfile.mkdtemp(dir=scratch))
            for tool in TOOLS:
                bench.once(tool)
            for _ in range(arguments.rounds):
                bench.turn()
        report(benches, several(arguments.rounds), arguments)


if __name__ == "__main__":
    main()
