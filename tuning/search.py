"""`python tuning/search.py`: a search for hyperparameters. Broken off, in any way, the same command goes on.

In DIRECTORY/NAME: results.csv, a row a trial; results.png; logs (TensorBoard, HParams); trial_*, a folder each; and of
the best trial best.toml, which `bachkeras train --config` takes, and best, a finished run.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import spaces

from bachkeras import _arguments, _start
from bachkeras.training.request import Request

ORACLES = ("grid", "random", "bayesian", "hyperband")


def main(arguments: list[str] | None = None) -> int:
    """Run a search; returns the exit status: 0, 1 for failed work, 2 for bad input, 130 if it was interrupted."""
    parsed = _parser().parse_args(arguments)
    try:
        search = _asked(parsed)
        with _no_gpu():
            _start.tensorflow()  # KerasTuner imports it: only now, so that --help is quick.
        import engine

        from bachkeras.training import interrupt

        with interrupt.enabled():
            return engine.run(search, parsed.directory / (parsed.name or _name(parsed)), parsed.manual_dir)
    except ValueError as error:
        return _fail(error, 2)
    except (OSError, RuntimeError) as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return _fail("interrupted; the same command goes on", 130)


def _asked(parsed: argparse.Namespace) -> spaces.Search:
    """What a command line asks for.

    Raises:
        ValueError: if it cannot be searched.
    """
    model, oracle = parsed.model or "lstm-attention", parsed.oracle or "random"
    if parsed.grid:
        if parsed.grid not in spaces.GRIDS:
            raise ValueError(f"The named grids are {', '.join(spaces.GRIDS)}. Received: grid={parsed.grid!r}")
        given = {key: getattr(parsed, key) for key in ("model", "oracle", "space", "config")}
        if any(given.values()):
            raise ValueError(f"A named grid is a whole search: leave out what it says itself. Received: {given}")
        (model, space), oracle = spaces.GRIDS[parsed.grid], "grid"
    elif model not in spaces.SPACES:
        raise ValueError(f"The models are {', '.join(spaces.SPACES)}. Received: model={model!r}")
    else:
        space = spaces.SPACES[model]
    if oracle not in ORACLES:
        raise ValueError(f"The oracles are {', '.join(ORACLES)}. Received: oracle={oracle!r}")
    values = {**space.values, **(spaces.read(parsed.space) if parsed.space else {})}
    asked = Request(model, parsed.config or space.config, parsed.data, epochs=parsed.epochs or space.epochs)
    base = asked.configuration()
    spaces.check(base, model, values)
    return spaces.Search(model, base, values, oracle, parsed.trials, parsed.seed)


def _name(parsed: argparse.Namespace) -> str:
    """What a search is called where nobody says."""
    return parsed.grid or f"{parsed.model or 'lstm-attention'}-{parsed.oracle or 'random'}"


@contextlib.contextmanager
def _no_gpu() -> Iterator[None]:
    """GPUs are for the trials' processes; what is started later sees them again."""
    name = "CUDA_VISIBLE_DEVICES"
    before = os.environ.get(name)
    os.environ[name] = "-1"
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


def _fail(error: object, status: int) -> int:
    print(f"search.py: {' '.join(str(error).split())}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", metavar="MODEL", help=f"{', '.join(spaces.SPACES)} (lstm-attention)")
    parser.add_argument("--oracle", metavar="ORACLE", help=f"{', '.join(ORACLES)} (random)")
    parser.add_argument("--space", type=Path, metavar="FILE.toml", help="values of hyperparameters, a list each")
    parser.add_argument("--grid", metavar="NAME", help="a named grid: source, around the best point of the source's")
    parser.add_argument("--config", metavar="NAME_OR_FILE", help="the configuration that trials change (default)")
    parser.add_argument("--data", metavar="NAME_OR_FOLDER", help="the corpus; else the configuration's")
    parser.add_argument("--epochs", type=_arguments.positive, metavar="N", help="of a trial; of hyperband the most")
    parser.add_argument("--trials", type=_arguments.positive, default=8, metavar="N", help="of random and bayesian (8)")
    parser.add_argument("--seed", type=_arguments.seed, default=0, metavar="S", help="of the draws and the trials (0)")
    parser.add_argument("--directory", type=Path, default=Path("searches"), metavar="DIR", help="(searches)")
    parser.add_argument("--name", metavar="NAME", help="of the search: a folder in DIR (MODEL-ORACLE)")
    parser.add_argument("--manual-dir", type=Path, metavar="DIR", help="as of `bachkeras train`")
    return parser


if __name__ == "__main__":
    sys.exit(main())
