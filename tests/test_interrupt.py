"""Ctrl-C: while all cores work, the workers end too, without a traceback each; while a graph runs, at once."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import pytest

from bachkeras import cli

CODE = """
import signal, time
from bachkeras.data import parallel
signal.signal(signal.SIGINT, signal.default_int_handler)  # A job in the background may have been told to ignore it.
try:
    parallel.ordered_map(time.sleep, [60] * 8, description="sleeping")
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("interrupt", [os.killpg, os.kill])
def test_an_interrupted_map_leaves_no_process(interrupt):
    """As a terminal does it, to every process of the group, and as `kill -INT` does, to one."""
    process = subprocess.Popen(
        [sys.executable, "-c", CODE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    told = ""
    while "sleeping" not in told and process.poll() is None:
        told += process.stderr.read(1)  # The progress bar: the workers are there.
    time.sleep(1)
    child = int(
        subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, check=True).stdout
    )
    interrupt(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert out == "interrupted\n"
    assert "Traceback" not in err
    for _ in range(100):
        try:
            os.killpg(child, 0)  # Its workers are of its group.
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("a worker lives on")


def test_while_a_graph_runs_the_system_ends_the_process():
    """Not Python, which would wait for the graph; afterwards it is Python again."""
    before, seen = signal.getsignal(signal.SIGINT), []

    def fail():
        with cli._interruptible():
            seen.append(signal.getsignal(signal.SIGINT))
            raise ValueError("bad input")

    with pytest.raises(ValueError, match="bad input"):
        fail()
    assert seen == [signal.SIG_DFL]
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_leave_signals_alone():
    seen = []

    def work():
        with cli._interruptible():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]


def test_a_worker_that_is_told_nothing_ends_quietly():
    for said in (b"", pickle.dumps((len, [[]] * 100, "lengths"))[:40]):
        done = subprocess.run([sys.executable, "-m", "bachkeras.data.parallel"], input=said, capture_output=True)
        assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")
