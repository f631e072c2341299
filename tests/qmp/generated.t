#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Cases from the tables (gen-tables, gen-cases.py), run by run.py as anybody would."""
import os
import subprocess
import sys
import tempfile

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, here)
from droverqmp import BUILD, DROVERD  # noqa: E402

LEAST = 400

tables = subprocess.run([os.path.join(BUILD, "tests", "docs", "gen-tables")], check=True,
                        stdout=subprocess.PIPE).stdout
cases = subprocess.run([sys.executable, os.path.join(here, "gen-cases.py")], check=True,
                       input=tables, stdout=subprocess.PIPE).stdout
if cases.count(b"\n") < LEAST:
    sys.exit(f"only {cases.count(bytes([10]))} cases were generated")
with tempfile.TemporaryDirectory(prefix="drover-qmp-") as directory:
    path = os.path.join(directory, "generated.jsonl")
    with open(path, "wb") as f:
        f.write(cases)
    status = subprocess.run([sys.executable, os.path.join(here, "run.py"),
                             DROVERD + " --qmp unix:$SOCKET --guest $GUEST", path],
                            check=False).returncode
sys.exit(status)
