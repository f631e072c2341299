# SPDX-License-Identifier: GPL-2.0-or-later
"""A TCP proxy on loopback that harms what it forwards at an exact byte.

A Fault names a connection (by the order of accepting), a direction ("out": from the
client, "back": to it), a byte offset in that direction, and what happens there:
  cut    both ends are closed; bytes before the offset have been forwarded
  stall  nothing is forwarded any more in either direction, and nothing closed
  flip   one bit of that byte is inverted
Without faults it can stand for a long way: `delay` seconds for what goes back. What is
forwarded now can be cut at any time, and later connections be sent elsewhere.
`rewrite` gets the first frame that a client sends on the first connection, and gives what is
forwarded in its place.
"""
import socket
import threading
import time

import wire
from netns import inside


class Fault:
    def __init__(self, kind, at, connection=0, direction="out", bit=0):
        self.kind, self.at, self.bit = kind, at, bit
        self.connection, self.direction = connection, direction

    def __str__(self):
        bit = f" bit {self.bit}" if self.kind == "flip" else ""
        where = f"{self.direction} of connection {self.connection}"
        return f"{self.kind} at byte {self.at}{bit} {where}"


class Proxy:
    def __init__(self, port, *faults, delay=0, host="127.0.0.1", netns=None, rewrite=None):
        self.target, self.faults = (host, port), list(faults)
        self.delay, self.netns, self.rewrite = delay, netns, rewrite
        self.lock = threading.Lock()
        self.count = {}                 # (connection, direction) -> bytes forwarded
        self.data = {}                  # the same -> the first bytes, as they came
        self.hit = []                   # faults that have happened
        self.socks, self.threads = [], []
        self.stalled = threading.Event()
        self.closing = threading.Event()
        self.listener = inside(netns, lambda: socket.create_server(("127.0.0.1", 0)))
        self.port = self.listener.getsockname()[1]
        self.uri = f"tcp:127.0.0.1:{self.port}"
        self.thread(self.accept)

    def thread(self, target, *args):
        t = threading.Thread(target=target, args=args, daemon=True)
        self.threads.append(t)
        t.start()

    def accept(self):
        n = 0
        while True:
            try:
                left = self.listener.accept()[0]
            except OSError:
                return
            try:
                right = inside(self.netns, lambda: socket.create_connection(self.target, 10))
                right.settimeout(None)
            except OSError:
                left.close()
                continue
            for s in (left, right):
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.socks += [left, right]
            self.thread(self.pump, n, "out", left, right)
            self.thread(self.pump, n, "back", right, left)
            n += 1

    def pump(self, n, direction, src, dst):
        key, seen = (n, direction), 0
        while True:
            try:
                if self.rewrite and key == (0, "out") and not seen:
                    data = bytearray(self.rewrite(wire.read_frame(src)))
                else:
                    data = bytearray(src.recv(65536))
            except OSError:
                data = b""
            if not data:
                break
            data, ends = self.harm(n, direction, seen, data)
            if self.stalled.is_set():
                self.closing.wait()
                break
            if self.delay and direction == "back":
                time.sleep(self.delay)
            try:
                dst.sendall(data)
            except OSError:
                break
            with self.lock:
                self.data[key] = (self.data.get(key, b"") + data)[:65536]
                seen += len(data)
                self.count[key] = seen
            if ends:
                break
        self.part(src, dst)

    def harm(self, n, direction, seen, data):
        ends = False
        with self.lock:
            for f in self.faults:
                at = f.at - seen
                if (f.connection, f.direction) != (n, direction) or not 0 <= at < len(data):
                    continue
                self.hit.append(f)
                if f.kind == "flip":
                    data[at] ^= 1 << f.bit
                elif f.kind == "stall":
                    self.stalled.set()
                else:
                    data, ends = data[:at], True
        return data, ends

    @staticmethod
    def part(*socks):
        for s in socks:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        """End every connection there is now."""
        with self.lock:
            socks, self.socks = self.socks, []
        self.part(*socks)
        return len(socks) // 2

    def bytes(self, n=0, direction="out"):
        with self.lock:
            return self.count.get((n, direction), 0)

    def close(self):
        self.closing.set()
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        with self.lock:
            socks = list(self.socks)
        self.part(*socks)
        for t in self.threads:
            t.join(5)
        for s in socks:
            s.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
