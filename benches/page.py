# Writes the parts of docs/benchmarks.md, each by the run that has measured it.
# SPDX-License-Identifier: MIT OR Apache-2.0
"""A part of the page lies between two marks, and a run replaces its own part and no other."""

import datetime
import os
import statistics
import subprocess
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DOCS = f"{ROOT}/docs"
PAGE = f"{DOCS}/benchmarks.md"
STARTED = time.monotonic()


def first_line(*command):
    """What a tool says of its version."""
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    said = (answer.stdout + answer.stderr).strip().splitlines()
    return said[0].strip() if said else f"{command[0]}, version unknown"


def package(name):
    return f"{name} " + first_line("dpkg-query", "--show", "--showformat", "${Version}", name)


def machine():
    with open("/proc/cpuinfo") as info:
        model = next((line.split(": ")[1].strip() for line in info if line.startswith("model name")), os.uname().machine)
    return f"{model}, {os.cpu_count()} processors, Linux {os.uname().release}"


def measured(script, versions):
    """The sentence under a heading: when, on what, with what, how long, how to repeat."""
    seconds = time.monotonic() - STARTED
    took = f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} minutes"
    what = "; ".join([machine(), *versions])
    return f"Measured on {datetime.date.today()} by `{script}`, in {took}: {what}.\n"


def table(head, rows):
    lines = ["| " + " | ".join(cells) + " |" for cells in [head, *rows]]
    lines.insert(1, "|" + "---|" * len(head))
    return "\n".join(lines) + "\n"


def spread(numbers, form="{:.2f}"):
    """Least, middle and most."""
    return " / ".join(form.format(n) for n in (min(numbers), statistics.median(numbers), max(numbers)))


def write_chart(name, svg):
    with open(f"{DOCS}/{name}.svg", "w") as chart:
        chart.write(svg)


def write_part(name, body):
    """Puts the text in the place of the part of that name."""
    begin, end = f"<!-- {name}: written by a run -->\n", f"<!-- end of {name} -->\n"
    with open(PAGE) as page:
        before, _, rest = page.read().partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"{PAGE} has no place for the part `{name}`")
    with open(PAGE, "w") as page:
        page.write(f"{before}{begin}{body}{end}{after}")
    print(body)
