# How long `xdpload block add` takes, beside a program that only makes its system calls.
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Usage: add.py XDPLOAD FLOOR, where a blocklist is on. The two take turns; the ratio is that of a turn."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from process import processor_time

TURNS = 60


def main():
    xdpload, floor = sys.argv[1:]
    turns = []
    for turn in range(TURNS):
        ours = processor_time([xdpload, "block", "add", f"198.51.100.{turn}"])
        turns.append((ours, processor_time([floor])))
    columns = [*map(sorted, zip(*turns)), sorted(ours / least for ours, least in turns)]
    for name, column in zip(("block add, CPU ms", "its system calls alone", "times those"), columns):
        print(f"{name + ':':<26}" + " / ".join(f"{column[at]:.2f}" for at in (0, TURNS // 2, -1)))


if __name__ == "__main__":
    main()
