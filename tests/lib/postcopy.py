# SPDX-License-Identifier: GPL-2.0-or-later
"""Postcopy as an operator sees it: begin it, and bring it to its end whatever happens."""
import time

from drover import DEADLINE, DONE, brief

AFTER = ("postcopy-active", "postcopy-paused", "postcopy-recover-setup", "postcopy-recover",
         "completed")
NOT_NOW = ("Cannot resume if there is no paused migration",
           "Migrate recover can only be run when postcopy is paused.")


def begin(src, dst, within=DEADLINE):
    """migrate-start-postcopy; both sides' query-migrate, once the guest runs there."""
    src.until("active", *AFTER, *DONE, within=within)
    src.call("migrate-start-postcopy")
    return handed_over(src, dst, within)


def handed_over(src, dst, within=DEADLINE):
    a = src.until(*AFTER, *DONE, within=within)
    return a, dst.until(*AFTER, *DONE, within=within)


def addresses(dst):
    """[(host, port)] on which it listens now."""
    return [(a["host"], int(a["port"])) for a in dst.info().get("socket-address", [])
            if "port" in a]


class Operator:
    """Looks at both daemons now and then, and does what the manual says.

    `resume` is asked for where the source is to connect to, each time anew; `recover`,
    if given, for a further address to listen on, or None.
    """

    def __init__(self, src, dst, resume, recover=None):
        self.src, self.dst, self.resume, self.recover = src, dst, resume, recover
        self.resumed = self.recovered = 0
        self.refused = []
        self.recovered_for = None

    def ask(self, daemon, command, **args):
        """True when it was accepted; what is refused because it is not its time is no harm."""
        error = daemon.error(command, **args)
        if error and error not in NOT_NOW:
            self.refused.append(f"{daemon.name}: {command}: {error}")
        return not error

    def look(self):
        """(source's query-migrate, destination's)"""
        a, b = self.src.info(), self.dst.info()
        there = b.get("status", "none")
        if there == "postcopy-paused" and self.recover and self.recovered_for != self.resumed:
            self.recovered_for = self.resumed
            uri = self.recover()
            if uri and self.ask(self.dst, "migrate-recover", uri=uri):
                self.recovered += 1
        here = a.get("status", "none")
        paused = here == "postcopy-paused" and not a["drover"]["in-doubt"]
        if paused and self.ask(self.src, "migrate", uri=self.resume(), resume=True):
            self.resumed += 1
        return a, b

    def work(self, seconds):
        """Do one's duty for so long; False when it is over before."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.over(*self.look()):
                return False
            time.sleep(0.01)
        return True

    @staticmethod
    def over(a, b):
        """A new daemon on either side need not know that nothing is left to do."""
        return {x.get("status", "completed") for x in (a, b)} == {"completed"} and \
            ("status" in a or "status" in b)

    def finish(self, within=2 * DEADLINE):
        end = time.monotonic() + within
        while True:
            a, b = self.look()
            if self.over(a, b) or time.monotonic() > end:
                return a, b
            time.sleep(0.02)

    def story(self):
        return (f"resumed {self.resumed} times, recovered {self.recovered} times, refused: "
                f"{self.refused[-5:]}\nsource: {brief(self.src.info())}\n"
                f"destination: {brief(self.dst.info())}")
