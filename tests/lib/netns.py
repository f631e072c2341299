# SPDX-License-Identifier: GPL-2.0-or-later
"""Two network namespaces joined by a cable that can be pulled.

The host's own network is not touched. Each namespace is held by a process of ours and
goes with it. Needs root and ip(8).
"""
import ctypes
import os
import subprocess
import threading
import time

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


def no_netns():
    """Why there can be no namespaces here; None when there can."""
    try:
        Cable().close()
        return None
    except (OSError, RuntimeError) as e:
        return str(e)


def inside(netns, function):
    """Call this in a thread that is in the namespace of file @netns (None: ours)."""
    if netns is None:
        return function()
    result = []

    def enter():
        if LIBC.setns(netns, CLONE_NEWNET):
            result.append(OSError(ctypes.get_errno(), "setns"))
            return
        try:
            result.append(function())
        except OSError as e:
            result.append(e)

    t = threading.Thread(target=enter)
    t.start()
    t.join()
    if isinstance(result[0], Exception):
        raise result[0]
    return result[0]


class End:
    """One end: a namespace, which may have an address. @fd is it, for setns(2)."""

    def __init__(self, address=None):
        self.address = address
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"],
                                       stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.fd = -1
        end = time.monotonic() + 10
        ours = os.stat("/proc/self/ns/net").st_ino
        while os.stat(f"/proc/{self.holder.pid}/ns/net").st_ino == ours:
            if self.holder.poll() is not None or time.monotonic() > end:
                self.close()
                raise RuntimeError("unshare --net: not permitted")
            time.sleep(0.005)
        self.fd = os.open(f"/proc/{self.holder.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def enter(self):
        """For Popen's preexec_fn: the program runs in this namespace."""
        if LIBC.setns(self.fd, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")

    def ip(self, *args):
        p = subprocess.run(["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", "ip", *args],
                           capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
        if p.returncode:
            raise RuntimeError(f"ip {' '.join(args)}: {p.stderr.strip()}")
        return p.stdout

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        self.holder.kill()
        self.holder.wait()


class Cable:
    """self.a and self.b are its ends."""

    def __init__(self):
        self.a = self.b = None
        try:
            self.a, self.b = End("10.99.0.1"), End("10.99.0.2")
            self.a.ip("link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns",
                      str(self.b.holder.pid))
            for end in (self.a, self.b):
                end.ip("link", "set", "lo", "up")
                end.ip("address", "add", end.address + "/24", "dev", "cable")
                end.ip("link", "set", "cable", "up")
        except (OSError, RuntimeError):
            self.close()
            raise

    def pull(self):
        self.a.ip("link", "set", "cable", "down")

    def plug(self):
        self.a.ip("link", "set", "cable", "up")

    def close(self):
        for end in (self.a, self.b):
            if end:
                end.close()
        self.a = self.b = None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
