# How loading grows with the programs, instructions and maps of an object.
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Makes objects of 1 to 1,000 programs, of 10 to 100,000 instructions and of 1 to 500 maps, and plans and loads them.

Told are the processor time and the largest memory of `xdpload plan` and `xdpload load`. Writes the part `growth` of docs/benchmarks.md and three charts. Runs in network
and mount namespaces of its own, made by scripts/bench/growth.

Needs root, clang, perf.
"""

import argparse
import math
import os
import shutil
import statistics
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import chart
import page
from process import make_room, processor_time, succeed
from replay import peak_memory

XDPLOAD = os.environ["XDPLOAD"]
PIN = "/sys/fs/bpf/growth"
SIZES = {
    "programs": (1, 3, 10, 30, 100, 300, 1_000),
    "instructions": (10, 100, 1_000, 10_000, 30_000, 100_000),
    "maps": (1, 3, 10, 30, 100, 300, 500),
}
HEAD = '#include <bpf/bpf_helpers.h>\nchar _license[] SEC("license") = "Dual MIT/GPL";\n'


def programs(count):
    """So many programs of a dozen instructions, no two alike."""
    one = 'SEC("xdp") int p{0}(struct xdp_md *c) {{ __u32 n = c->data_end - c->data; return n * {0} % 7 == {0} % 5; }}\n'
    return "".join(one.format(n) for n in range(count))


def instructions(count):
    """One program of so many instructions: steps that no compiler can leave out."""
    step = 'asm volatile("%0 += 1" : "+r"(r));\n'
    # Steps in a function each of a thousand, as people write them.
    full, rest = divmod(max(0, count - 6), 1_000)
    parts = [f"static __noinline __u64 f{n}(__u64 r) {{\n{step * 996} return r; }}\n" for n in range(full)]
    calls = "".join(f"r = f{n}(r);\n" for n in range(full))
    start = 'SEC("xdp") int p(struct xdp_md *c) {\n__u64 r = 1;\n'
    return "".join(parts) + f"{start}{step * max(1, rest)}{calls} return r == 0; }}\n"


def maps(count):
    """So many maps, and a program for each 50: the kernel lets one use 64."""
    kind = "__uint(type, BPF_MAP_TYPE_ARRAY); __type(key, __u32); __type(value, __u64); __uint(max_entries, 1);"
    parts = [f'struct {{ {kind} }} m{n} SEC(".maps");\n' for n in range(count)]
    for first in range(0, count, 50):
        names = range(first, min(first + 50, count))
        used = "".join(f"v = bpf_map_lookup_elem(&m{n}, &key); if (v) sum += *v;\n" for n in names)
        start = f'SEC("xdp") int p{first}(struct xdp_md *c) {{ __u32 key = 0; __u64 sum = 0, *v;\n'
        parts.append(f"{start}{used} return sum == 1; }}\n")
    return "".join(parts)


MAKERS = {"programs": programs, "instructions": instructions, "maps": maps}


def compiled(kind, count, scratch):
    path = f"{scratch}/{kind}-{count}"
    with open(f"{path}.c", "w") as source:
        source.write(HEAD + MAKERS[kind](count))
    clang = os.environ.get("CLANG") or shutil.which("clang-19") or "clang"
    command = [clang, "-target", "bpf", "-O2", "-g", "-mcpu=v3", "-nostdinc", f"-I{page.ROOT}/vendor-headers"]
    succeed([*command, "-c", f"{path}.c", "-o", f"{path}.o"])
    return f"{path}.o"


def exponent(points):
    """How the cost grows at the large end: the slope of the last three points over logarithmic axes."""
    (x1, y1), (x2, y2) = points[-3], points[-1]
    return math.log(y2 / y1) / math.log(x2 / x1)


def measure(kind, rounds, scratch):
    """(size, plan ms, load ms, plan kB, load kB) by size; the middle of the rounds."""
    paths = {size: compiled(kind, size, scratch) for size in SIZES[kind]}
    times = {size: [] for size in paths}
    for _ in range(rounds):
        for size, path in paths.items():
            plan = processor_time([XDPLOAD, "plan", path, "--pin", PIN, "--all"])
            load = processor_time([XDPLOAD, "load", path, "--pin", PIN, "--all"])
            shutil.rmtree(PIN)
            times[size].append((plan, load))
    rows = []
    for size, path in paths.items():
        middle = [statistics.median(column) for column in zip(*times[size])]
        memory = [peak_memory([XDPLOAD, work, path, "--pin", PIN, "--all"]) for work in ("plan", "load")]
        shutil.rmtree(PIN)
        rows.append((size, *middle, *memory))
    return rows


def report(found, arguments):
    parts = [page.measured(f"scripts/bench/growth --rounds {arguments.rounds}", [page.first_line(XDPLOAD, "--version")])]
    names = "plan", "load"
    for kind, rows in found.items():
        series = {name: [(row[0], row[1 + at]) for row in rows] for at, name in enumerate(names)}
        page.write_chart(f"growth-{kind}", chart.lines(f"Growth by {kind}", kind, "ms of processor time", series))
        head = [kind, *(f"{name}, ms" for name in names), "plan, kB", "load, kB"]
        cells = [[f"{row[0]:,}", *(f"{n:.2f}" for n in row[1:3]), *(f"{n:,}" for n in row[3:])] for row in rows]
        slopes = ", ".join(f"{name} {exponent(points):.2f}" for name, points in series.items())
        parts.append(f"\n### By {kind}\n\n![Lines of the table](growth-{kind}.svg)\n\n{page.table(head, cells)}")
        parts.append(f"\nExponent over the last three sizes (1 is linear): {slopes}.\n")
    page.write_part("growth", "".join(parts))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each has its turn (default: 5)")
    arguments = parser.parse_args()
    make_room()
    with tempfile.TemporaryDirectory() as scratch:
        report({kind: measure(kind, arguments.rounds, scratch) for kind in SIZES}, arguments)


if __name__ == "__main__":
    main()
