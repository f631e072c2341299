# SPDX-License-Identifier: GPL-2.0-or-later
"""Static tracepoints (USDT) of a program: what its notes say, and what fires.

Breakpoints are set by perf_event_open(2) itself, in one file only, so what else runs on this
machine is not disturbed; a copy of a program is another file. Needs root and a kernel with
uprobes.
"""
import ctypes
import mmap
import os
import re
import struct

PMU = "/sys/bus/event_source/devices/uprobe/type"
PERF_EVENT_OPEN = 298
SAMPLE, LOST = 9, 2
TID, TIME, REGS_USER = 1 << 1, 1 << 2, 1 << 12
USE_CLOCKID, CLOEXEC, CLOCK_MONOTONIC = 1 << 25, 8, 1
RING_PAGES = 256
# The kernel's numbers of x86's registers, in the order in which a sample has them.
REGS = {name: nr for nr, name in enumerate("ax bx cx dx si di bp".split())}
REGS.update({f"r{n}": 8 + n for n in range(8, 16)})
MASK = sum(1 << nr for nr in REGS.values())
ORDER = sorted(REGS.values())


class Note:
    def __init__(self, provider, name, args, offset):
        self.provider, self.name, self.args, self.offset = provider, name, args.split(), offset

    def __repr__(self):
        return f"{self.provider}:{self.name} at {self.offset:#x}: {self.args}"


def sections(elf):
    at, = struct.unpack_from("<Q", elf, 40)
    size, n, names = struct.unpack_from("<HHH", elf, 58)
    heads = [struct.unpack_from("<IIQQQQ", elf, at + size * i) for i in range(n)]
    text = heads[names][4]
    return {elf[text + h[0]:elf.index(b"\0", text + h[0])].decode(): h for h in heads}


def in_file(elf, address):
    at, = struct.unpack_from("<Q", elf, 32)
    size, n = struct.unpack_from("<HH", elf, 54)
    for i in range(n):
        kind, _, offset, vaddr, _, length = struct.unpack_from("<IIQQQQ", elf, at + size * i)
        if kind == 1 and vaddr <= address < vaddr + length:
            return address - vaddr + offset
    raise ValueError(f"{address:#x} is in no segment")


def notes(path):
    with open(path, "rb") as f:
        elf = f.read()
    table = sections(elf)
    if ".note.stapsdt" not in table:
        return []
    at, end = table[".note.stapsdt"][4], sum(table[".note.stapsdt"][4:6])
    base, found = table[".stapsdt.base"][3], []
    while at < end:
        name, desc, _ = struct.unpack_from("<III", elf, at)
        at += 12 + (name + 3 & ~3)
        pc, then = struct.unpack_from("<QQ", elf, at)
        text = elf[at + 24:at + desc].split(b"\0")
        found.append(Note(*(t.decode() for t in text[:3]), in_file(elf, pc + base - then)))
        at += desc + 3 & ~3
    return found


def decode(arg):
    """What is at `8@%rax`, `-4@%esi` or `4@$0`: a function of a sample's registers."""
    m = re.fullmatch(r"(-?)([1248])@(?:\$(-?\d+)|%([a-z0-9]+))", arg)
    if not m:
        raise ValueError(f"{arg}: neither register nor constant")
    signed, size, constant, reg = m[1] == "-", int(m[2]), m[3], m[4]
    if constant:
        return lambda regs: int(constant)
    name = re.sub(r"^(r\d+)[bwd]$", r"\1", reg)
    if name not in REGS:
        name = name[1:] if name[0] in "re" else name
        name = name[0] + "x" if name in ("al", "bl", "cl", "dl") else name.removesuffix("l") \
            if name in ("sil", "dil", "bpl") else name
    index = ORDER.index(REGS[name])
    return lambda regs: int.from_bytes(regs[index * 8:index * 8 + size], "little", signed=signed)


class Fired:
    def __init__(self, name, pid, tid, time, args):
        self.name, self.pid, self.tid, self.time, self.args = name, pid, tid, time, args

    def text(self, i):
        """The text that an argument points to, while the process lives."""
        with open(f"/proc/{self.pid}/mem", "rb", 0) as f:
            f.seek(self.args[i])
            return f.read(1024).split(b"\0")[0].decode()


class Probes:
    """All tracepoints of one file, on, until close()."""

    def __init__(self, path):
        with open(PMU) as f:
            self.type = int(f.read())
        self.path = ctypes.create_string_buffer(os.fsencode(path))
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.rings, self.lost = [], 0
        for note in notes(path):
            args = [decode(a) for a in note.args]
            for cpu in sorted(os.sched_getaffinity(0)):
                self.rings.append((note.name, args, *self.open(note.offset, cpu)))

    def open(self, offset, cpu):
        attr = bytearray(128)
        struct.pack_into("<IIQQQQQ", attr, 0, self.type, len(attr), 0, 1, TID | TIME | REGS_USER,
                         0, USE_CLOCKID)
        struct.pack_into("<QQ", attr, 56, ctypes.addressof(self.path), offset)
        struct.pack_into("<QIi", attr, 80, MASK, 0, CLOCK_MONOTONIC)
        fd = self.libc.syscall(PERF_EVENT_OPEN, (ctypes.c_char * len(attr)).from_buffer(attr), -1,
                               cpu, -1, CLOEXEC)
        if fd < 0:
            raise OSError(ctypes.get_errno(), f"perf_event_open: {os.strerror(ctypes.get_errno())}")
        return fd, mmap.mmap(fd, (1 + RING_PAGES) * mmap.PAGESIZE)

    def take(self):
        """What has fired since the last time, in the order of time."""
        fired = []
        for name, args, _, ring in self.rings:
            head, tail, first, size = struct.unpack_from("<QQQQ", ring, 1024)
            data = ring[first:first + size]
            data += data            # a record may go around the end
            while tail < head:
                at = tail % size
                kind, _, length = struct.unpack_from("<IHH", data, at)
                if kind == SAMPLE:
                    pid, tid, time = struct.unpack_from("<IIQ", data, at + 8)
                    regs = data[at + 32:at + length]
                    fired.append(Fired(name, pid, tid, time, [a(regs) for a in args]))
                elif kind == LOST:
                    self.lost += struct.unpack_from("<QQ", data, at + 8)[1]
                tail += length
            struct.pack_into("<Q", ring, 1032, tail)
        return sorted(fired, key=lambda f: f.time)

    def count(self):
        """{name: how often it has fired}, as the kernel counts."""
        counts = {}
        for name, _, fd, _ in self.rings:
            counts[name] = counts.get(name, 0) + struct.unpack("<Q", os.read(fd, 8))[0]
        return counts

    def close(self):
        for _, _, fd, ring in self.rings:
            ring.close()
            os.close(fd)
        self.rings = []

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
