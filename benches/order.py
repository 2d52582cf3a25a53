# Which functions the everyday commands run, so that the linker can lay them side by side.
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Runs the commands of an operator's day under callgrind, and compares the functions that ran with cli/order.txt.

The kernel brings a program into memory in pieces of 64 kB, and only those that are touched: where what a command runs lies
together, it takes less memory and fewer page faults. The file holds beginnings of symbols, each of which stands for functions
that all ran. Runs in network and mount namespaces of its own, made by scripts/bench/order.

Needs root, valgrind and iproute2.
"""

import argparse
import bisect
import collections
import os
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from process import make_room, succeed

XDPLOAD, LINK_MAP = os.environ["XDPLOAD"], os.environ["LINK_MAP"]
ORDER = "cli/order.txt"
OBJECTS = "loader/tests/fixtures/clang-19"
# Above this share of the bytes that ran, the file is good enough.
ENOUGH = 0.95
# What ran in an earlier group is not named again, so the first has its functions closest together. A command after `-` is not
# watched: it only makes what the next one needs.
DAY = {
    "attach": [f"attach v0 {OBJECTS}/xdp_drop.o", f"attach --replace v0 {OBJECTS}/blacklist.o"],
    "detach": ["detach v0"],
    "attach with CO-RE": [f"attach v0 {OBJECTS}/core_fields.o"],
    "status": ["status"],
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
# Beginnings of the symbols of the functions that everyday commands run, for scripts/build-static, which
# has the linker lay them side by side. Written by scripts/bench/order --update; what none of it names any
# more, or what is missing, costs memory and page faults and nothing else.
"""


class Functions:
    """The functions of the program by address, as the linker's map has them: the program itself has no symbols.

    Where the compiler makes one of several equal functions, or the linker, it is the one that the order can name.
    """

    SECTION = re.compile(r"^ \.text(?:\.unlikely|\.hot|\.startup)?\.(_R\S+)\s+0x([0-9a-f]+)\s+0x([0-9a-f]+)", re.MULTILINE)

    def __init__(self):
        self.names, self.sizes = {}, {}
        with open(LINK_MAP) as file:
            # What was left out stands before this line, and without addresses.
            used = file.read().partition("\nLinker script and memory map\n")[2]
        for name, address, size in self.SECTION.findall(used):
            address, size = int(address, 16), int(size, 16)
            if size:
                self.names[address], self.sizes[address] = stable(name), size
        self.starts = sorted(self.sizes)

    def at(self, place):
        """The address of the function that has this place, if it is one of those."""
        start = self.starts[max(0, bisect.bisect(self.starts, place) - 1)]
        return start if start <= place < start + self.sizes[start] else None

    def ran(self, command):
        """The addresses of the functions that a command runs."""
        with tempfile.NamedTemporaryFile() as out:
            grind = ["valgrind", "--tool=callgrind", "--dump-instr=yes", "--compress-pos=no"]
            succeed([*grind, f"--callgrind-out-file={out.name}", XDPLOAD, *command.split()])
            with open(out.name) as told:
                places = {int(place, 16) for place in re.findall(r"^0x([0-9a-f]+) ", told.read(), re.MULTILINE)}
        return {self.at(place) for place in places} - {None}


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
    and what LLVM appends.
    """
    open_ended = {"Cs": "Cs*_", "B": "B*_"}
    plain = symbol.partition(".llvm.")[0]
    kept = (open_ended.get(re.match("Cs|B|", word)[0], word) for word in words(plain))
    return "".join(kept) + ("" if plain == symbol else "*")


def beginnings(names, others):
    """The fewest beginnings that all the names have, and none of the others."""
    found, others = set(), sorted(others)
    for name in names:
        place = bisect.bisect(others, name)
        common = max((len(os.path.commonprefix([name, other])) for other in others[max(0, place - 1) : place + 1]), default=0)
        start = ""
        for word in words(name):
            start += word
            if len(start) > common:
                break
        found.add(start if start == name else f"{start}*")
    return sorted(found)


def watch(functions):
    """The addresses that ran first in each group of commands."""
    make_room()
    succeed(["ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1"])
    before, groups = set(), {}
    for title, commands in DAY.items():
        ran = set()
        for command in commands:
            if command.startswith("- "):
                succeed([XDPLOAD, *command[2:].split()])
            else:
                ran |= functions.ran(command)
        groups[title] = ran - before
        before |= ran
    return groups


def write(functions, groups):
    """Writes the file."""
    everything = set(functions.names.values())
    hot = set()
    with open(ORDER, "w") as file:
        file.write(HEAD)
        for title, addresses in groups.items():
            names = {functions.names[address] for address in addresses} - hot
            hot |= names
            file.write(f"# {title}\n")
            file.writelines(f"{line}\n" for line in beginnings(names, everything - hot))


def compare(functions, groups):
    """Says how much of what ran the file names, and fails if that is too little."""
    with open(ORDER) as file:
        lines = [line.rstrip("\n") for line in file if not line.startswith("#")]
    named = re.compile("|".join(re.escape(line).replace(r"\*", ".*") for line in lines))
    sizes = {True: 0, False: 0}
    for address in set().union(*groups.values()):
        is_named = bool(named.fullmatch(functions.names[address]))
        sizes[is_named] += functions.sizes[address]
    ran = sum(sizes.values())
    print(f"{ORDER} names {sizes[True]} of the {ran} bytes that ran, of {sum(functions.sizes.values())}")
    if sizes[True] < ENOUGH * ran:
        raise SystemExit(f"order: less than {ENOUGH:.0%}: scripts/bench/order --update")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true", help=f"write {ORDER} anew")
    update = parser.parse_args().update
    functions = Functions()
    groups = watch(functions)
    if update:
        write(functions, groups)
    compare(functions, groups)


if __name__ == "__main__":
    main()
