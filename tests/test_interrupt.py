"""Ctrl-C while all cores work: the workers end too, without a traceback each."""

import os
import signal
import subprocess
import sys
import time

import pytest

CODE = """
import time
from bachkeras.data import parallel
print("started", flush=True)
try:
    parallel.ordered_map(time.sleep, [60] * 8, description="sleeping")
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupted_map_leaves_no_process():
    process = subprocess.Popen(
        [sys.executable, "-c", CODE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout.readline() == "started\n"
    time.sleep(4)
    os.killpg(process.pid, signal.SIGINT)  # As a terminal does: to every process of the group.
    out, err = process.communicate(timeout=30)
    assert out == "interrupted\n"
    assert "Traceback" not in err
    for _ in range(100):
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("a worker lives on")
