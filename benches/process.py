# What a measurement runs commands with: a place of its own, and what they cost the processor.
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Nothing of what a command writes is shown, unless it fails; then the whole measurement ends."""

import os
import subprocess


def succeed(command):
    """Runs a command, and returns what it has written to standard error."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stderr


def make_room():
    """Has an empty bpffs and no network namespaces, in the mount namespace that scripts/bench/ makes for each run."""
    if os.readlink("/proc/self/ns/mnt") == os.readlink(f"/proc/{os.getppid()}/ns/mnt"):
        raise SystemExit("this would hide the bpffs of the machine: run it by its script in scripts/bench/")
    succeed(["mount", "-t", "bpf", "bpf", "/sys/fs/bpf"])
    succeed(["mount", "-t", "tmpfs", "tmpfs", "/run"])
    os.mkdir("/run/netns")


def processor_time(command):
    """Milliseconds of the process, from exec(2) on, with what the kernel does for it."""
    # The report goes to standard error: a file would be an fd more in the command.
    said = succeed(["perf", "stat", "-x", ",", "-e", "task-clock", "--", *command])
    return next(float(line.split(",")[0]) for line in said.splitlines() if ",task-clock" in line)
