#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Clients that were written for QEMU drive a migration: ganeti's, as Debian has it, and a
script of nothing but the standard library."""
import json
import logging
import os
import subprocess
import sys
import time

sys.dont_write_bytecode = True
here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, here)
from droverqmp import ROOT, Tap, World, match  # noqa: E402

subprocess.run(["sh", os.path.join(here, "ganeti.sh")], check=True)
sys.path.insert(0, os.path.join(ROOT, "build", "ganeti", "root/usr/share/ganeti/3.0"))
from ganeti import constants, errors, objects  # noqa: E402
from ganeti.hypervisor.hv_kvm import KVMHypervisor  # noqa: E402
from ganeti.hypervisor.hv_kvm.monitor import QmpCommandNotSupported, QmpConnection  # noqa: E402

WAIT = 120
logging.disable(logging.WARNING)
tap = Tap()


class Hypervisor(KVMHypervisor):
    """ganeti's, but its directories are not made, it does not look for a process, and it
    asks again sooner."""
    _MIGRATION_INFO_MAX_BAD_ANSWERS = 1000
    _MIGRATION_INFO_RETRY_DELAY = 0.05

    def __init__(self, directory):
        self.qmp = None
        self._CTRL_DIR = directory

    def _InstanceQmpMonitor(self, instance_name):
        return os.path.join(self._CTRL_DIR, instance_name + ".qmp")

    @classmethod
    def _InstancePidAlive(cls, instance_name):
        return None, 0, True


def instance(name, port, capabilities):
    return objects.Instance(name=name, hvparams={
        constants.HV_MIGRATION_PORT: port, constants.HV_MIGRATION_BANDWIDTH: 32,
        constants.HV_MIGRATION_DOWNTIME: 100, constants.HV_KVM_MIGRATION_CAPS: capabilities})


def listen(daemon):
    """ganeti gives the destination its address on QEMU's command line; the port there."""
    with QmpConnection(daemon.path) as qmp:
        qmp.Execute("migrate-incoming", {"uri": "tcp:127.0.0.1:0"})
        end = time.monotonic() + WAIT
        while time.monotonic() < end:
            address = qmp.Execute("query-migrate").get("socket-address")
            if address:
                return int(address[0]["port"])
    raise RuntimeError("it does not listen")


def poll(hypervisor, guest):
    """As ganeti's master does: the statuses it sees, and the last answer."""
    seen, end = [], time.monotonic() + WAIT
    while True:
        status = hypervisor.GetMigrationStatus(guest)
        seen.append(status.status)
        if status.status != constants.HV_MIGRATION_ACTIVE or time.monotonic() > end:
            return seen, status
        time.sleep(0.05)


def move(world, src, dst, capabilities, what):
    source, target = Hypervisor(world.dir), Hypervisor(world.dir)
    port = listen(dst)
    target._SetInstanceMigrationCapabilities(instance(os.path.basename(dst.path)[:-4], port,
                                                      capabilities))
    guest = instance(os.path.basename(src.path)[:-4], port, capabilities)
    source.MigrateInstance("cluster", guest, "127.0.0.1", True)
    seen, status = poll(source, guest)
    tap.ok(seen[-1] == constants.HV_MIGRATION_COMPLETED and
           constants.HV_MIGRATION_ACTIVE in seen, f"{what}: active, then completed", seen)
    tap.ok(status.total_ram == 64 << 20 and status.transferred_ram >= 1 << 20,
           f"{what}: RAM in all and transferred", status.ToDict())
    client = src.client()
    settings = client.call("query-migrate-parameters")["return"]
    tap.ok(match({"max-bandwidth": 32 << 20, "downtime-limit": 100,
                  "max-postcopy-bandwidth": 32 << 20}, settings), f"{what}: its settings", settings)
    tap.ok(all(settings[c] for c in capabilities.split(":")), f"{what}: its capabilities")
    there = dst.client()
    there.info((), {"guest-check": {"verdict": "~^(passed|failed)$"}}, WAIT)
    tap.ok(match({"status": "completed", "guest-check": {"verdict": "passed"}},
                 there.call("query-migrate")["return"]), f"{what}: the guest is whole there",
           there.call("query-migrate"))
    source._ClearInstanceMigrationCapabilities(guest)
    tap.ok(not client.call("query-migrate-parameters")["return"]["multifd"],
           f"{what}: the capabilities are cleared")


def refusals(world, daemon):
    hypervisor = Hypervisor(world.dir)
    guest = instance(os.path.basename(daemon.path)[:-4], 1, "events")
    hypervisor.MigrateInstance("cluster", guest, "127.0.0.1", True)
    seen, _ = poll(hypervisor, guest)
    tap.ok(seen[-1] == constants.HV_MIGRATION_FAILED, "nobody listens: failed", seen)
    guest.hvparams[constants.HV_KVM_MIGRATION_CAPS] = "events:nope"
    try:
        hypervisor.MigrateInstance("cluster", guest, "127.0.0.1", True)
        why = None
    except errors.HypervisorError as e:
        why = str(e)
    tap.ok(why == "kvm: error executing the migrate-set-capabilities command: Parameter "
           "'capability' does not accept value 'nope' (GenericError):", "its error, as from QEMU",
           why)
    try:
        hypervisor.qmp.SetSpicePassword("none")
        why = None
    except QmpCommandNotSupported as e:
        why = str(e)
    tap.ok(why == "Instance does not support the 'set_password' QMP command.",
           "a command that is not there is known from query-commands", why)


def descriptor(daemon):
    """A migration into a pipe that ganeti's client has passed."""
    r, w = os.pipe()
    with QmpConnection(daemon.path) as qmp:
        qmp._GetFd(w, "stream")
        os.close(w)
        qmp.Execute("migrate-set-capabilities",
                    {"capabilities": [{"capability": "multifd", "state": False}]})
        answer = qmp.Execute("migrate", {"uri": "fd:stream"})
    tap.ok(answer == {}, "migrate to a descriptor passed by getfd", answer)
    tap.ok(len(os.read(r, 16)) == 16, "its stream comes out of the pipe")
    os.close(r)
    info = daemon.client().status("failed", "completed", "cancelled")
    tap.ok(info["status"] == "failed", "and the pipe's end is its failure", info)


def raw(src, dst):
    p = subprocess.run([os.path.join(here, "raw-client.py"), src.path, dst.path], check=False,
                       capture_output=True, text=True, timeout=WAIT)
    tap.ok(p.returncode == 0, "the script ends with status 0", p.stderr)
    said = json.loads(p.stdout or "{}")
    tap.ok(match({"status": "completed", "source": "postmigrate", "destination": "running",
                  "states": ["setup", "active", "device", "completed"]}, said),
           "the script has seen the whole migration", p.stdout)


with World() as world:
    a = world.start("a", "sim:size=64M,dirty=5M,seed=3")
    b = world.start("b", "sim:size=64M")
    try:
        move(world, a, b, "events:multifd", "ganeti")
        move(world, b, a, "multifd:auto-converge", "ganeti, back")
        refusals(world, a)
        descriptor(a)
    except (OSError, RuntimeError, AttributeError, KeyError, errors.GenericError) as e:
        tap.ok(False, "ganeti", repr(e))
    c = world.start("c", "sim:size=32M,dirty=5M,seed=4")
    raw(c, world.start("d", "sim:size=32M"))
tap.ok(not any(world.statuses.values()), "every droverd ended with status 0", world.statuses)
sys.exit(tap.done())
