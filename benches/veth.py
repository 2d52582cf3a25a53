# Namespaces, veth pairs and live frames: what a packet costs the processor that receives it.
# SPDX-License-Identifier: MIT OR Apache-2.0
"""One sender and any number of receivers, each a veth pair with an end in a namespace of its own.

The sender is a program that runs on live frames (BPF_F_TEST_XDP_LIVE_FRAMES). A receiver has threaded
NAPI, and what counts is the processor time of that one thread (its schedstat) for each packet that the
interface has counted. Most frames are lost before, in the full ring between the two.
"""

import contextlib
import ctypes
import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BPFFS = "/sys/fs/bpf/xdpload-bench"
PREFIX = "xdpload-bench-"
ADDRESSES = 1 << 20
SYS_BPF = {"x86_64": 321, "aarch64": 280}.get(os.uname().machine)
UPDATE, OBJ_GET, TEST_RUN, UPDATE_BATCH = 2, 7, 10, 26
LIVE_FRAMES = 2
SIOCETHTOOL, ETHTOOL_SGRO = 0x8946, 0x2C

LIBC = ctypes.CDLL(None, use_errno=True)


def bpf(command, attr):
    """Calls bpf(2) with the bytes of an attr, and returns what it answers."""
    buffer = ctypes.create_string_buffer(attr, 128)
    answer = LIBC.syscall(SYS_BPF, command, buffer, 128)
    if answer < 0:
        raise OSError(ctypes.get_errno(), f"bpf command {command}")
    return answer, buffer.raw


@contextlib.contextmanager
def pinned(name):
    path = ctypes.create_string_buffer(f"{BPFFS}/{name}".encode())
    fd = bpf(OBJ_GET, struct.pack("QI", ctypes.addressof(path), 0))[0]
    try:
        yield fd
    finally:
        os.close(fd)


def update(name, key, value):
    key, value = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(value, len(value))
    with pinned(f"maps/{name}") as fd:
        bpf(UPDATE, struct.pack("IIQQQ", fd, 0, ctypes.addressof(key), ctypes.addressof(value), 0))


def update_all(name, keys, values, count):
    """Fills a map with so many entries, by bytes that lie one behind the other."""
    if count == 0:
        return
    keys = (ctypes.c_char * len(keys)).from_buffer(bytearray(keys))
    values = (ctypes.c_char * len(values)).from_buffer(bytearray(values))
    with pinned(f"maps/{name}") as fd:
        where = struct.pack("QQQQIIQQ", 0, 0, ctypes.addressof(keys), ctypes.addressof(values), count, fd, 0, 0)
        bpf(UPDATE_BATCH, where)


def test_run_attr(fd, data, repeat, flags=0, batch_size=0):
    sizes = len(data), 0
    return struct.pack(
        "IIIIQQIIIIQQIII", fd, 0, *sizes, ctypes.addressof(data), 0, repeat, 0, 0, 0, 0, 0, flags, 0, batch_size
    )


def run(*command, **options):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **options)


def compile_and_pin(source, scratch, *flags):
    """Compiles a file of this folder, and pins its programs in BPFFS and its maps below."""
    path = f"{scratch}/programs.o"
    clang = os.environ.get("CLANG") or shutil.which("clang-19") or "clang"
    command = [clang, "-target", "bpf", "-O2", "-g", "-mcpu=v1", *flags, "-nostdinc", "-Ivendor-headers"]
    subprocess.run([*command, "-c", f"benches/{source}", "-o", path], check=True, cwd=ROOT)
    run("bpftool", "prog", "loadall", path, BPFFS, "pinmaps", f"{BPFFS}/maps")


@contextlib.contextmanager
def inside(namespace):
    """Is in this network namespace meanwhile. Only for the main thread, whose namespace /proc/net shows."""
    with open(f"/run/netns/{PREFIX}{namespace}") as there, open("/proc/self/ns/net") as here:
        LIBC.setns(there.fileno(), 0)
        try:
            yield
        finally:
            LIBC.setns(here.fileno(), 0)


class Rig:
    """The sender's end."""

    def __init__(self):
        run("ip", "netns", "add", f"{PREFIX}far")
        # On one processor the thread takes what the sender has left in the ring, some 256 packets, whenever it gets
        # its turn: each program then has as many for each time it is woken, however fast it is.
        os.sched_setaffinity(0, {0})

    @staticmethod
    def send(receiver, packets, addresses):
        """Sends the receiver packets from the first so many of the addresses."""
        frame = receiver.frame()
        data = ctypes.create_string_buffer(frame, len(frame))
        update("outlet", bytes(4), struct.pack("=II", receiver.outlet, addresses))
        with pinned("sender") as fd, inside("far"):
            bpf(TEST_RUN, test_run_attr(fd, data, repeat=packets, flags=LIVE_FRAMES, batch_size=256))

    def measure(self, receiver, packets, addresses=ADDRESSES):
        """Nanoseconds of the receiver's thread for each packet."""
        self.send(receiver, packets // 8, addresses)
        time.sleep(0.01)
        seen, busy = receiver.seen(), receiver.busy()
        self.send(receiver, packets, addresses)
        time.sleep(0.02)
        return (receiver.busy() - busy) / (receiver.seen() - seen)


class Receiver:
    """The near end of a veth pair, `name` in a namespace of that name, with an address and nothing to filter yet."""

    ADDRESS = "192.0.2.1"
    HARDWARE_ADDRESS = "02:00:00:00:00:01"

    def __init__(self, name):
        self.name, self.thread = name, None
        far, space = f"{name}-far", PREFIX + name
        run("ip", "netns", "add", space)
        pair = f"{name} address {self.HARDWARE_ADDRESS} netns {space} type veth peer {far} netns {PREFIX}far"
        run("ip", "link", "add", *pair.split())
        for where, interface in (name, name), ("far", far):
            with inside(where):
                set_up(interface)
            run("ip", "-n", PREFIX + where, "link", "set", interface, "up")
        run("ip", "-n", space, "address", "add", f"{self.ADDRESS}/24", "dev", name)
        neighbour = f"192.0.2.2 lladdr 02:00:00:00:00:02 dev {name}"
        run("ip", "-n", space, "neighbour", "add", *neighbour.split())
        run("ip", "-n", space, "route", "add", "default", "via", "192.0.2.2")
        run("ip", "netns", "exec", space, "sh", "-c", f"echo 1 >/sys/class/net/{name}/threaded")
        with inside("far"):
            self.outlet = socket.if_nametoindex(far)

    def run(self, *command, **options):
        """Runs a command in the namespace. `ip netns exec` would hide bpffs under a sysfs of its own."""
        run("nsenter", f"--net=/run/netns/{PREFIX}{self.name}", *command, **options)

    def attach(self, program):
        """Attaches a program that is pinned in BPFFS."""
        self.run("ip", "-force", "link", "set", self.name, "xdpdrv", "pinned", f"{BPFFS}/{program}")

    def frame(self):
        """Addresses, type, IPv4 and UDP headers and a payload, in 60 bytes. The sender writes the source."""
        to, port = socket.inet_aton(self.ADDRESS), 9
        header = struct.pack("!BBHHHBBH4x4s", 0x45, 0, 46, 0, 0, 64, socket.IPPROTO_UDP, 0, to)
        total = sum(struct.unpack("=10H", header))
        total = (total & 0xFFFF) + (total >> 16)
        header = header[:10] + struct.pack("=H", ~total & 0xFFFF) + header[12:]
        ethernet = bytes.fromhex(self.HARDWARE_ADDRESS.replace(":", "")) + bytes(6) + b"\x08\0"
        return ethernet + header + struct.pack("!HHHH18x", port, port, 26, 0)

    def seen(self):
        """How many packets the interface has taken."""
        with inside(self.name), open("/proc/net/dev") as table:
            lines = (line.split(":") for line in table)
            return next(int(rest[0].split()[1]) for name, *rest in lines if name.strip() == self.name)

    def unwanted(self):
        """How many packets have got as far as to a port where nobody listens."""
        with inside(self.name), open("/proc/net/snmp") as table:
            names, numbers = (line.split() for line in table if line.startswith("Udp:"))
        return int(numbers[names.index("NoPorts")])

    def busy(self):
        """Nanoseconds that the thread has run."""
        try:
            with open(f"/proc/{self.thread}/schedstat") as stat:
                return int(stat.read().split()[0])
        except OSError:
            # Attaching a program has made another thread.
            self.thread = self.find_thread()
            return self.busy()

    def find_thread(self):
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/comm") as comm:
                if comm.read().startswith(f"napi/{self.name}-"):
                    os.sched_setaffinity(int(pid), {0})
                    return int(pid)
        sys.exit(f"there is no thread napi/{self.name}: is NAPI threaded here?")


def set_up(interface):
    """No packets of IPv6's own, any source, and a receiver that works in batches, as that of a card does."""
    for path, value in ("ipv6/conf/{}/disable_ipv6", 1), ("ipv4/conf/{}/rp_filter", 0):
        with open(f"/proc/sys/net/{path.format(interface)}", "w") as setting:
            setting.write(str(value))
    # Without a native program veth has NAPI only while GRO is on.
    wanted = ctypes.create_string_buffer(struct.pack("II", ETHTOOL_SGRO, 1))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        fcntl.ioctl(door, SIOCETHTOOL, struct.pack("16sQ16x", interface.encode(), ctypes.addressof(wanted)))


def clean_up():
    """Takes away whatever was made, so that the next may be measured."""
    with os.scandir("/run/netns") as names:
        for name in [entry.name for entry in names if entry.name.startswith(PREFIX)]:
            run("ip", "netns", "del", name)
    shutil.rmtree(BPFFS, ignore_errors=True)
