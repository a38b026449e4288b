"""`bachkeras ...`: thin commands over the library. TensorFlow is imported inside them, so that `--help` is quick."""

from __future__ import annotations

import argparse
import dataclasses
import secrets
import sys
import time
from pathlib import Path

import bachkeras
from bachkeras import _start


def main(arguments: list[str] | None = None) -> int:
    """Run a command line; returns the exit status: 0, 1 for failed work, 2 for bad arguments or input."""
    parsed = _parser().parse_args(arguments)
    try:
        _start.tensorflow()
        parsed.run(parsed)
    except ValueError as error:
        return _fail(error, 2)
    except (OSError, RuntimeError) as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except Exception as error:
        if not type(error).__module__.startswith("tensorflow"):
            raise  # A bug: its traceback is wanted.
        return _fail(error, 1)  # Out of memory, a damaged file: TensorFlow's errors have a tree of their own.
    return 0


def _fail(error: object, status: int) -> int:
    print(f"bachkeras: {' '.join(str(error).split())}", file=sys.stderr)
    return status


def _data_build(arguments) -> None:
    from bachkeras.data import catalog

    builder = catalog.build(arguments.name, manual_dir=arguments.manual_dir)
    sizes = ", ".join(f"{name} {split.num_examples}" for name, split in builder.info.splits.items())
    print(f"{arguments.name}: {sizes} pieces in {builder.data_path}")


def _data_info(arguments) -> None:
    from bachkeras.data import catalog, info

    corpora = {name: catalog.load(arguments.name, name, manual_dir=arguments.manual_dir) for name in catalog.SPLITS}
    print("\n".join(info.describe(arguments.name, corpora, catalog.builder(arguments.name).info.metadata)))


def _train(arguments) -> None:
    from bachkeras.training import directory, interrupt, run
    from bachkeras.training.request import Request

    given = vars(arguments)
    request = Request(**{field.name: given[field.name] for field in dataclasses.fields(Request)})
    out = arguments.out or Path("runs") / f"{arguments.model}-{time.strftime('%Y%m%d-%H%M%S')}"
    if arguments.resume and not arguments.out:
        raise ValueError("--resume goes on with the run that --out names. Received: out=None")
    with interrupt.enabled():
        if arguments.resume and out.exists():
            request.check(directory.card(out))
            run.resume(out, manual_dir=arguments.manual_dir)
        else:
            if arguments.resume:
                print(f"There is no run in {out}: it begins now.")
            run.train(
                request.model,
                request.configuration(),
                out,
                seed=request.seed or 0,
                init=request.init,
                manual_dir=arguments.manual_dir,
            )


def _generate(arguments) -> None:
    from bachkeras.training import directory, samples

    card = directory.card(arguments.model)
    key = samples.parse_key(arguments.key) if arguments.key else None
    seed = secrets.randbits(31) if arguments.seed is None else arguments.seed
    model = directory.load(arguments.model)
    length = arguments.length or ("auto" if model.ending else 64)
    paths = samples.write(
        model,
        card,
        arguments.out,
        count=arguments.count,
        length=None if length == "auto" else length,
        temperature=arguments.temperature,
        top_p=arguments.top_p,
        seed=seed,
        key=key,
        as_musicxml=arguments.musicxml,
    )
    print(f"Seed {seed}: {', '.join(str(path) for path in paths)}")


def _evaluate(arguments) -> None:
    from bachkeras.evaluation import tables
    from bachkeras.training import evaluate

    runs = arguments.run_directories
    out = arguments.out or (runs[0] if len(runs) == 1 else Path("evaluation"))
    rows = evaluate.evaluate(
        runs,
        out,
        data=arguments.data,
        count=arguments.samples,
        seed=arguments.seed,
        judge=arguments.judge,
        manual_dir=arguments.manual_dir,
    )
    print(tables.table(rows))
    print(f"The page: {out / 'report.html'}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bachkeras", description=bachkeras.__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=f"bachkeras {bachkeras.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    data = commands.add_parser("data", help="build a corpus, look at one").add_subparsers(required=True, metavar="WHAT")
    for name, run, text in (
        ("build", _data_build, "prepare a corpus"),
        ("info", _data_info, "what a corpus holds, and a SHA-256 over its examples"),
    ):
        command = data.add_parser(name, help=text, description=text)
        command.add_argument(
            "name", metavar="NAME", help="chorales, chorales_8th, chorales_16th, jsb_quarter or jsb_16th"
        )
        _manual_dir(command)
        command.set_defaults(run=run)

    train = commands.add_parser("train", help="train a model, score it, write four pieces")
    train.add_argument("model", metavar="MODEL", help="lstm-attention")
    train.add_argument("--data", metavar="NAME", help="the corpus; else the configuration's")
    train.add_argument("--config", metavar="NAME_OR_FILE", help="a named configuration or a TOML file (default)")
    train.add_argument(
        "--init", type=Path, metavar="RUN", help="train this run's model further; --config gives data and training"
    )
    train.add_argument("--out", type=Path, metavar="RUN", help="the new run directory (runs/MODEL-date-time)")
    train.add_argument("--resume", action="store_true", help="go on with RUN where it broke off, if it is there")
    train.add_argument("--epochs", type=_positive, metavar="N", help="instead of the configuration's")
    train.add_argument("--seed", type=_seed, metavar="S", help="of weights, data order, samples (0)")
    _manual_dir(train)
    train.set_defaults(run=_train)

    generate = commands.add_parser("generate", help="write new music as MIDI")
    generate.add_argument("--model", type=Path, required=True, metavar="RUN", help="a run directory")
    generate.add_argument("--count", type=_positive, default=4, metavar="N", help="pieces (4)")
    generate.add_argument(
        "--length",
        type=_length,
        metavar="FRAMES",
        help='frames of each, or "auto": until the model ends it (auto or 64)',
    )
    generate.add_argument("--temperature", type=float, default=1.0, metavar="X", help="above 1 bolder, below safer (1)")
    generate.add_argument("--top-p", type=float, default=1.0, metavar="P", help="draw from the likeliest P (1)")
    generate.add_argument("--seed", type=_seed, metavar="S", help="the same seed gives the same music")
    generate.add_argument("--key", metavar="K", help='such as "D minor"; else keys as the corpus has them')
    generate.add_argument("--musicxml", action="store_true", help="write 001.musicxml ... too")
    generate.add_argument("--out", type=Path, default=Path("out"), metavar="DIR", help="folder for 001.mid ... (out)")
    generate.set_defaults(run=_generate)

    evaluate = commands.add_parser("evaluate", help="what models are worth: a table, evaluation.json, report.html")
    evaluate.add_argument("run_directories", type=Path, nargs="+", metavar="RUN", help="run directories")
    evaluate.add_argument("--data", metavar="NAME", help="the corpus; else the one that each was trained on")
    evaluate.add_argument("--samples", type=_positive, metavar="N", help="of each (as many as test pieces)")
    evaluate.add_argument("--seed", type=_seed, default=0, metavar="S", help="of the samples (0)")
    evaluate.add_argument("--judge", type=Path, metavar="RUN", help="its model says how probable it finds the samples")
    evaluate.add_argument("--out", type=Path, metavar="DIR", help="folder for both files (one RUN: RUN; evaluation)")
    _manual_dir(evaluate)
    evaluate.set_defaults(run=_evaluate)
    return parser


def _manual_dir(command) -> None:
    command.add_argument(
        "--manual-dir", type=Path, metavar="DIR", help="a folder that holds the benchmark's file already"
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1, not {text!r}")
    return int(text)


def _length(text: str) -> int | str:
    return text if text == "auto" else _positive(text)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"a whole number from 0 to 2^31 - 1, not {text!r}")
    return int(text)
