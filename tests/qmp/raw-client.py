#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""raw-client.py SOURCE-SOCKET DESTINATION-SOCKET: migrates a guest, with nothing but the
standard library, as somebody's script for QEMU does. Needs nothing of this tree."""
import json
import socket
import sys


class Qmp:
    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(path)
        self.file = self.sock.makefile("rw")
        self.events = []
        json.loads(self.file.readline())["QMP"]["version"]
        self("qmp_capabilities")

    def __call__(self, command, **arguments):
        json.dump({"execute": command, "arguments": arguments}, self.file)
        self.file.flush()
        while True:
            answer = json.loads(self.file.readline())
            if "event" not in answer:
                if "error" in answer:
                    sys.exit(f"{command}: {answer['error']['desc']}")
                return answer["return"]
            self.events.append(answer)

    def until(self, event, **data):
        """Wait for an event; the process is killed when it does not come."""
        while not any(e["event"] == event and e.get("data", {}) == data for e in self.events):
            self.events.append(json.loads(self.file.readline()))


def main(source, destination):
    src, dst = Qmp(source), Qmp(destination)
    for qmp in src, dst:
        qmp("migrate-set-capabilities", capabilities=[
            {"capability": "events", "state": True}, {"capability": "multifd", "state": True}])
        qmp("migrate-set-parameters", **{"multifd-channels": 2, "max-bandwidth": 1 << 30})
    dst("migrate-incoming", uri="tcp:127.0.0.1:0")
    while "socket-address" not in dst("query-migrate"):
        pass
    port = dst("query-migrate")["socket-address"][0]["port"]
    src("migrate", uri="tcp:127.0.0.1:" + port)
    src.until("STOP")
    src.until("MIGRATION", status="completed")
    dst.until("MIGRATION", status="completed")
    dst.until("RESUME")
    info = src("query-migrate")
    print(json.dumps({
        "status": info["status"], "downtime": info["downtime"], "ram": info["ram"]["transferred"],
        "states": [e["data"]["status"] for e in src.events if e["event"] == "MIGRATION"],
        "source": src("query-status")["status"], "destination": dst("query-status")["status"]}))


main(*sys.argv[1:])
