# Which functions and tables everyday commands use, so that the linker can lay them side by side.
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Traces the commands of an operator's day with valgrind, and compares what they use of the program with cli/order.txt.

The kernel brings a program into memory in pieces of 64 kB, and only those that are touched: where what a command uses lies
together, it takes less memory and fewer page faults. The file holds beginnings of symbols, each of which stands for functions
and tables that all are used. Runs in network and mount namespaces of its own, made by scripts/bench/order.

Needs root, valgrind and iproute2.
"""

import argparse
import bisect
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from process import make_room, succeed

ORDER = "cli/order.txt"
OBJECTS = "loader/tests/fixtures/clang-19"
LARGE_OBJECTS = "loader/tests/fixtures/big"
# Above this share of the bytes that are used, the file is good enough.
ENOUGH = 0.95
# What an earlier group uses is not named again, so that of the first lies closest together. A command after `-` is not
# watched: it only makes what the next one needs.
DAY = {
    "attach": [f"attach v0 {OBJECTS}/xdp_drop.o"],
    "detach": ["detach v0"],
    "attach with a map": [f"attach v0 {OBJECTS}/blacklist.o", "- detach v0"],
    "attach in place of another": [
        f"- attach v0 {OBJECTS}/xdp_drop.o",
        f"attach --replace v0 {OBJECTS}/blacklist.o",
        "- detach v0",
    ],
    "attach with CO-RE": [f"attach v0 {OBJECTS}/core_fields.o"],
    "attach with functions and many maps": [
        f"attach --replace v0 {LARGE_OBJECTS}/functions_and_maps.o --prog mix_all",
        f"attach --replace v0 {LARGE_OBJECTS}/core_functions.o --prog mix_all",
    ],
    "status": ["status", "- detach v0"],
    "confirm": [f"- attach v1 {OBJECTS}/xdp_pass.o --confirm 60s", "confirm v1", "detach v1"],
    "block add and del": [
        "- block on v1 --max-rules 1000",
        "block add 192.0.2.1 198.51.100.0/24 2001:db8::/32",
        "block del 192.0.2.1",
    ],
    "block": [
        "block test 198.51.100.1",
        "block stats",
        "block list",
        "block off v1",
        "block on v1 --max-rules 1000",
        "block off v1 --purge",
    ],
}
HEAD = """\
# Beginnings of the symbols of the functions and tables that everyday commands use, for scripts/build-static,
# which has the linker lay them side by side. Written by scripts/bench/order --update. What fits nothing any
# more, or is missing, costs memory and page faults and nothing else.
"""


class Program:
    """The functions and tables of a program by address, as the linker's map has them: it has no symbols itself.

    Where the compiler makes one of several equal functions, the map has the name of the one, and so the order can name it.
    """

    LINE = re.compile(
        r"^ \.(?:text|rodata)(?:\.unlikely|\.hot|\.startup|\.\.Lswitch\.table)?\.(?!\.Lanon|str\d|cst\d)"
        r"(\S+)\s+0x([0-9a-f]+)\s+0x([0-9a-f]+)",
        re.MULTILINE,
    )

    def __init__(self, path, link_map):
        self.path, self.names, self.sizes = path, {}, {}
        with open(link_map) as file:
            # What was left out stands before this line.
            used = file.read().partition("\nLinker script and memory map\n")[2]
        for name, address, size in self.LINE.findall(used):
            address, size = int(address, 16), int(size, 16)
            if size:
                self.names[address], self.sizes[address] = stable(name), size
        self.starts = sorted(self.sizes)

    def at(self, place):
        """The address of the function or table that has this place, if it is in one."""
        start = self.starts[max(0, bisect.bisect(self.starts, place) - 1)]
        return start if start <= place < start + self.sizes[start] else None

    def used(self, command):
        """The addresses of what a command runs and reads, in the order in which it comes to them."""
        trace, ours = os.pipe()
        grind = ["valgrind", "--tool=lackey", "--trace-mem=yes", f"--log-fd={ours}", self.path]
        with subprocess.Popen([*grind, *command.split()], pass_fds=[ours], stdout=subprocess.DEVNULL) as run:
            os.close(ours)
            with open(trace) as lines:
                places = dict.fromkeys(line[3:].partition(",")[0] for line in lines if line[:3] in ("I  ", " L ", " M "))
        if run.returncode:
            raise SystemExit(f"{self.path} {command}: exit status {run.returncode}")
        return [at for at in dict.fromkeys(self.at(int(place, 16)) for place in places) if at is not None]


WORD = re.compile(r"Cs[0-9a-zA-Z*]+?_(?=\d)|B[0-9a-zA-Z*]*_|s[0-9a-zA-Z]*_|(\d+)_?|.")


def words(symbol):
    """The identifiers of a symbol, each with its length, and the letters between them: see rustc's symbol mangling v0."""
    place = 0
    while place < len(symbol):
        word = WORD.match(symbol, place)
        end = word.end() + int(word[1] or 0)
        yield symbol[place:end]
        place = end


def stable(symbol):
    """A symbol without what changes from build to build, as the linker's patterns have it.

    That are the disambiguators of crates; the places in the symbol that it refers to, as they depend on how long those are;
    and what the compiler appends.
    """
    if not symbol.startswith("_R"):
        return re.sub(r"\..*", "*", symbol)
    open_ended = {"Cs": "Cs*_", "B": "B*_"}
    plain = symbol.partition(".llvm.")[0]
    kept = (open_ended.get(re.match("Cs|B|", word)[0], word) for word in words(plain))
    return "".join(kept) + ("" if plain == symbol else "*")


def beginnings(names, others):
    """The fewest beginnings that all the names have, and none of the others, in the order of the names."""
    found, others = {}, sorted(others)
    for name in names:
        if not name.startswith("_R"):
            found[name] = True
            continue
        place = bisect.bisect(others, name)
        common = max((len(os.path.commonprefix([name, other])) for other in others[max(0, place - 1) : place + 1]), default=0)
        start = ""
        for word in words(name):
            start += word
            if len(start) > common:
                break
        found[start if start == name else f"{start}*"] = True
    return list(found)


def watch(program):
    """The addresses of what is used first in each group of commands, in order."""
    before, groups = set(), {}
    for title, commands in DAY.items():
        used = {}
        for command in commands:
            if command.startswith("- "):
                succeed([program.path, *command[2:].split()])
            else:
                used |= dict.fromkeys(program.used(command))
        groups[title] = [address for address in used if address not in before]
        before |= used.keys()
    return groups


def write(programs):
    """Writes the file."""
    everything = {name for program in programs for name in program.names.values()}
    hot = set()
    with open(ORDER, "w") as file:
        file.write(HEAD)
        for title in DAY:
            used = dict.fromkeys(program.names[address] for program, groups in programs.items() for address in groups[title])
            names = [name for name in used if name not in hot]
            hot |= used.keys()
            file.write(f"# {title}\n")
            file.writelines(f"{line}\n" for line in beginnings(names, everything - hot))


def compare(program, groups):
    """Says how much of what is used the file names, and whether that is enough."""
    with open(ORDER) as file:
        lines = [line.rstrip("\n") for line in file if not line.startswith("#")]
    named = re.compile("|".join(re.escape(line).replace(r"\*", ".*") for line in lines))
    sizes = {True: 0, False: 0}
    for address in set().union(*groups.values()):
        is_named = bool(named.fullmatch(program.names[address]))
        sizes[is_named] += program.sizes[address]
    used = sum(sizes.values())
    print(f"{program.path}: of {sum(program.sizes.values())} bytes {used} are used, and {ORDER} names {sizes[True]} of these")
    return sizes[True] >= ENOUGH * used


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true", help=f"write {ORDER} anew")
    parser.add_argument("--program", nargs=2, metavar=("PROGRAM", "MAP"), action="append", help="one of the builds", required=True)
    args = parser.parse_args()
    make_room()
    succeed(["ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1"])
    programs = [Program(*paths) for paths in args.program]
    programs = {program: watch(program) for program in programs}
    if args.update:
        write(programs)
    if not all([compare(program, groups) for program, groups in programs.items()]):
        raise SystemExit(f"order: less than {ENOUGH:.0%}: scripts/bench/order --update")


if __name__ == "__main__":
    main()
