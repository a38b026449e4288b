"""One function over many items on all cores, from any process: a script, a notebook, one that has loaded TensorFlow.

A pool made in the caller's own process is not safe: forking a process that runs TensorFlow's threads can hang, and
spawning runs the user's script again unless it guards its `__main__`. So the pool belongs to a child process, which
loads neither TensorFlow nor the user's script.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(function: Callable[[Item], Result], items: Iterable[Item], *, description: str) -> list[Result]:
    """`[function(item) for item in items]` on all cores, with a progress bar on standard error.

    Args:
        function: a function of an importable module, or a `functools.partial` of one.
        items: its arguments; they and the results must pickle.
        description: what the progress bar says.

    Returns:
        The results, in the order of `items`.

    Raises:
        Exception: the first one that `function` raised.
        RuntimeError: if the worker processes died.
    """
    items = list(items)
    if not items:
        return []
    # As multiprocessing does: what the parent can import, the workers can.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    command = [sys.executable, "-m", "bachkeras.data.parallel"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    # In a session of its own, so that Ctrl-C reaches this process alone, which ends all of them without a trace.
    with subprocess.Popen(command, env=environment, start_new_session=True, **pipes) as child:
        try:
            output, _ = child.communicate(pickle.dumps((function, items, description)))
        except BaseException:
            _kill(child)
            raise
    if child.returncode:
        raise RuntimeError(f"The worker processes died; see above. Received: exit status {child.returncode}")
    results, error = pickle.loads(output)
    if error is not None:
        raise error
    return results


def _kill(child: subprocess.Popen) -> None:
    """End a process and its workers."""
    if hasattr(os, "killpg"):
        os.killpg(child.pid, signal.SIGKILL)
    else:
        child.kill()  # Windows.


def _serve() -> None:
    """The child: reads the work from standard input, writes `(results, error)` to standard output."""
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # What a library prints must not mix with the results.
    try:
        function, items, description = pickle.load(sys.stdin.buffer)
    except (EOFError, pickle.UnpicklingError):  # The parent was interrupted while it said what to do.
        sys.exit(1)
    results, error = [], None
    with ProcessPoolExecutor() as pool:
        try:
            # The pieces of a corpus differ in size, so a chunk is small.
            results.extend(tqdm(pool.map(function, items, chunksize=4), desc=description, total=len(items)))
        except Exception as raised:
            pool.shutdown(cancel_futures=True)
            error = raised
    with output:
        pickle.dump((results, error), output)


if __name__ == "__main__":
    _serve()
