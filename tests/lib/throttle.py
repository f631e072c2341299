# SPDX-License-Identifier: GPL-2.0-or-later
"""A slow disk: a cgroup (v1, blkio) whose direct reads are held to a number of bytes a second."""
import os

ROOT = "/sys/fs/cgroup/blkio"


def device_of(path):
    """The whole disk that a file is on, as "major:minor"; None: none that can be slow."""
    st = os.stat(path)
    dev = f"{os.major(st.st_dev)}:{os.minor(st.st_dev)}"
    sys_dev = os.path.realpath("/sys/dev/block/" + dev)
    if not os.path.isdir(sys_dev):
        return None
    if os.path.exists(sys_dev + "/partition"):
        with open(os.path.dirname(sys_dev) + "/dev") as f:
            dev = f.read().strip()
    return dev


class Throttle:
    """self.missing says what this machine lacks; else self.enter is a preexec_fn."""

    def __init__(self, path, bytes_per_second):
        self.dir = os.path.join(ROOT, f"drover-{os.getpid()}-{id(self)}")
        self.missing = None
        dev = device_of(path)
        if not dev:
            self.missing = f"{path} is on no block device"
            return
        try:
            os.mkdir(self.dir)
            with open(self.dir + "/blkio.throttle.read_bps_device", "w") as f:
                f.write(f"{dev} {bytes_per_second}")
        except OSError as e:
            self.missing = f"no blkio throttle of cgroup v1: {e}"

    def enter(self):
        with open(self.dir + "/cgroup.procs", "w") as f:
            f.write(str(os.getpid()))

    def end(self):
        """After the processes in it."""
        try:
            os.rmdir(self.dir)
        except OSError:
            pass
