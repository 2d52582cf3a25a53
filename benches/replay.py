# The least that any loader can do: the needed calls of a load, replayed from their bytes by a program without libc.
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Watches `xdpload attach` by ptrace, and writes a C program that makes the same bpf() calls and one RTM_SETLINK.

The fds in the bytes are those of the run that was watched, so the program makes its fds in the same order, and gives up
if one has another number. x86_64 only, for the one instruction that makes a system call.
"""

import ctypes
import os
import signal
import socket
import struct
import subprocess

TRACE_ME, CONTINUE, SYSCALL, SET_OPTIONS, GET_SYSCALL_INFO = 0, 7, 24, 0x4200, 0x420E
GOOD_SYSCALL, AT_EXIT, EVENT_EXIT = 1, 0x40, 6
ENTRY, EXIT = 1, 2
BPF, SOCKET, SENDTO, RECVFROM, LEAVE = 321, 41, 44, 45, 231
MAP_CREATE, PROG_LOAD, BTF_LOAD = 0, 5, 18
# Where in its attr a command has a pointer: the offset, and those of the numbers whose product is the size.
POINTERS = {MAP_CREATE: [], BTF_LOAD: [(0, (16,))], PROG_LOAD: [(8, (4,)), (80, (76, 88)), (96, (92, 104))]}
LICENSE = 16

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def start(command):
    """Starts a command that stops before its first instruction."""
    child = os.fork()
    if child == 0:
        quiet = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(quiet, stream)
        os.closerange(3, 1024)
        LIBC.ptrace(TRACE_ME, 0, None, None)
        os.execvp(command[0], command)
    os.waitpid(child, 0)
    LIBC.ptrace(SET_OPTIONS, child, None, GOOD_SYSCALL | AT_EXIT)
    return child


def stops(child, how):
    """Goes on from stop to stop, and says what each is: a wait status."""
    deliver = 0
    while True:
        LIBC.ptrace(how, child, None, deliver)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            if status:
                raise SystemExit(f"what was watched has failed: status {status:#x}")
            return
        number = os.WSTOPSIG(status)
        deliver = number if number & 0x7F != signal.SIGTRAP else 0
        yield status


def peak_memory(command):
    """Kilobytes: VmHWM at the end. What a shell's `time` tells is that of whoever started the command, if that had more."""
    child, found = start(command), 0
    for status in stops(child, CONTINUE):
        if status >> 16 == EVENT_EXIT:
            with open(f"/proc/{child}/status") as lines:
                found = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return found


def watch(command):
    """The bpf() calls that load something: (command, attr, {offset of a pointer: bytes}, fd)."""
    child = start(command)
    calls, pending = [], None
    info = ctypes.create_string_buffer(88)
    for status in stops(child, SYSCALL):
        if status >> 8 != signal.SIGTRAP | 0x80:
            continue
        LIBC.ptrace(GET_SYSCALL_INFO, child, len(info), ctypes.addressof(info))
        if info.raw[0] == ENTRY:
            number, what, attr, size = struct.unpack_from("4Q", info, 24)
            pending = read_call(child, what, attr, size) if number == BPF and what in POINTERS else None
        elif info.raw[0] == EXIT and pending:
            answer, failed = struct.unpack_from("qB", info, 24)
            if not failed:
                calls.append((*pending, answer))
            pending = None
    return calls


def read_call(child, what, where, size):
    with open(f"/proc/{child}/mem", "rb", buffering=0) as memory:

        def read(address, length):
            memory.seek(address)
            return memory.read(length)

        attr = read(where, size)
        buffers = {}
        for offset, factors in POINTERS[what]:
            length = 8 if factors == (4,) else 1
            for factor in factors:
                length *= struct.unpack_from("I", attr, factor)[0]
            address = struct.unpack_from("Q", attr, offset)[0]
            if address and length:
                buffers[offset] = read(address, length)
        if what == PROG_LOAD:
            buffers[LICENSE] = read(struct.unpack_from("Q", attr, LICENSE)[0], 32).split(b"\0")[0] + b"\0"
    return what, attr, buffers


def set_link(index, fd, flags):
    """An RTM_SETLINK that attaches a program, or takes off what is there if the fd is -1."""
    inner = struct.pack("=HHiHHI", 8, 1, fd, 8, 3, flags)
    body = struct.pack("=BxHiII", 0, 0, index, 0, 0) + struct.pack("=HH", 4 + len(inner), 0x8000 | 43) + inner
    return struct.pack("=IHHII", 16 + len(body), 19, 5, 1, 0) + body


def c_bytes(name, data):
    numbers = ",".join(str(byte) for byte in data)
    return f"static unsigned char {name}[] __attribute__((aligned(8))) = {{{numbers}}};\n"


HEAD = """
static long call(long n, long a, long b, long c, long d)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = 0;
    register long r9 __asm__("r9") = 0;
    __asm__ volatile("syscall" : "+a"(n) : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
    return n;
}
static unsigned char answer[512] __attribute__((aligned(8)));
"""


def program(calls, message):
    """The text of the C program."""
    data, code = [c_bytes("message", message)], []
    netlink = f"{socket.AF_NETLINK}, {socket.SOCK_RAW | socket.SOCK_CLOEXEC}, 0, 0"
    code.append(f"if (call({SOCKET}, {netlink}) != 3) call({LEAVE}, 10, 0, 0, 0);")
    for at, (what, attr, buffers, fd) in enumerate(calls):
        data.append(c_bytes(f"attr{at}", attr))
        for offset, held in buffers.items():
            data.append(c_bytes(f"held{at}_{offset}", held))
            code.append(f"*(long *)(attr{at} + {offset}) = (long)held{at}_{offset};")
        code.append(f"if (call({BPF}, {what}, (long)attr{at}, sizeof attr{at}, 0) != {fd}) call({LEAVE}, 11, 0, 0, 0);")
    code.append(f"call({SENDTO}, 3, (long)message, sizeof message, 0);")
    code.append(f"call({RECVFROM}, 3, (long)answer, sizeof answer, 0);")
    code.append(f"call({LEAVE}, *(int *)(answer + 16) != 0, 0, 0, 0);")
    return HEAD + "".join(data) + "void _start(void)\n{\n" + "\n".join(code) + "\n}\n"


class Floor:
    """Two programs that do the least: one attaches, one takes off."""

    NATIVE, IF_NO_OTHER = 1 << 2, 1

    def __init__(self, xdpload, interface, path, name, scratch):
        calls = watch([xdpload, "attach", interface, path, "--prog", name])
        subprocess.run([xdpload, "detach", interface], check=True, stdout=subprocess.DEVNULL)
        index, fd = socket.if_nametoindex(interface), calls[-1][-1]
        self.attach, self.detach = f"{scratch}/floor-attach", f"{scratch}/floor-detach"
        self.build(self.attach, program(calls, set_link(index, fd, self.NATIVE | self.IF_NO_OTHER)))
        self.build(self.detach, program([], set_link(index, -1, self.NATIVE)))

    @staticmethod
    def build(path, text):
        flags = ["-O2", "-static", "-nostdlib", "-fno-stack-protector", "-fno-asynchronous-unwind-tables"]
        subprocess.run(["cc", *flags, "-x", "c", "-", "-o", path], input=text.encode(), check=True)
