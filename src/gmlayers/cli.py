"""The command line: a table from name to function, imported when it is called, and one line for every error.

Another distribution adds commands by an entry point of the group ``gmlayers.commands``. It names a table like
:data:`COMMANDS`, in a module that is quick to import.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, NoReturn

from gmlayers._names import in_a_clone, look_up
from gmlayers.experiments.interrupts import is_interrupt
from gmlayers.experiments.text import notes, one_line, visible

DESCRIPTION = """Neural-network layers whose neurons are distributions.

Start with `gmlayers demo`; then `gmlayers train mnist`. Every command has --help.

Data are looked for under $GMLAYERS_DATA first and downloaded into $GMLAYERS_CACHE otherwise."""

Table = Mapping[str, tuple[str, str]]

COMMANDS: Table = {
    "demo": ("gmlayers.experiments.demo:demo", "Show in a minute what the library does, as a page with pictures."),
    "train": (
        "gmlayers.experiments.train_command:train",
        "Train a model on a data set, images or a table.",
    ),
    "evaluate": ("gmlayers.experiments.inference:evaluate", "Judge the trained models of a run again."),
    "compare": ("gmlayers.experiments.inference:compare", "Print finished runs in one table, the best first."),
    "predict": ("gmlayers.experiments.inference:predict", "Predict for new files with a trained model."),
    "forecast": (
        "gmlayers.experiments.forecasting.command:forecast",
        "Forecast series with intervals, from a table with dates.",
    ),
    "list": ("gmlayers.experiments.catalogue:list_all", "List data sets, models and experiments."),
}
"""The table holds, for each command, the place of its function and one line of help."""

STUDIES = ("reproduce", "plot", "archive")
"""These commands belong to the distribution ``gmlayers-studies``."""


def commands() -> Table:
    """Return the commands of this and of every other installed distribution; ours come first and win."""
    from importlib.metadata import entry_points

    table = dict(COMMANDS)
    for entry in entry_points(group="gmlayers.commands"):
        table |= {name: command for name, command in entry.load().items() if name not in COMMANDS}
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; exit with 0, with 2 and one line for an error, or with 130 after Ctrl-C."""
    try:
        _run(sys.argv[1:] if arguments is None else list(arguments))
    except KeyboardInterrupt as interrupt:
        _fail_interrupted(str(interrupt))
    except BrokenPipeError:
        sys.stderr.close()  # the reader has gone, as with `| head`
        sys.exit(141)
    except (ValueError, OSError, RuntimeError, MemoryError) as error:
        if is_interrupt(error):
            _fail_interrupted("")
        wanted = re.search(r"tried to allocate (\d+) bytes", str(error))
        if wanted is not None:  # torch's words are about its allocator
            _fail(f"not enough memory: {int(wanted[1]) / 1e9:,.1f} GB were needed at once; choose smaller sizes", 2)
        kind = "" if isinstance(error, (ValueError, OSError)) else f"{type(error).__name__}: "
        _fail(f"{kind}{_one_line(error)}", 2)  # a RuntimeError is torch's: no such device, and the like


def _run(arguments: list[str]) -> None:
    name, *rest = arguments or ["--help"]
    if name in ("-h", "--help"):
        print(_help())  # noqa: T201
    elif name == "--version":
        import gmlayers

        print(f"gmlayers {gmlayers.__version__}")  # noqa: T201
    elif name.startswith("-"):
        raise ValueError(f"expected a command before the option {name}; `gmlayers --help` lists the commands")
    else:
        _call(name, rest)


def _call(name: str, arguments: list[str]) -> None:
    module, _, attribute = _place(name).partition(":")
    with notes():
        try:
            import tyro

            function: Callable[..., Any] = getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("gmlayers"):
                raise
            _fail(f"the commands need {error.name}; install them {in_a_clone('experiments')}", 2)
        tyro.cli(function, prog=f"gmlayers {name}", args=arguments, config=(tyro.conf.OmitArgPrefixes,))


def _place(name: str) -> str:
    """Return where the function of a command is."""
    if name in COMMANDS:  # without a look at what else is installed, which takes its time
        return COMMANDS[name][0]
    table = commands()
    if name in STUDIES and name not in table:
        _fail(f"{name} belongs to the studies, which are not installed; in a clone: pip install ./studies", 2)
    return look_up("command", name, table)[0]


def _help() -> str:
    table = commands()
    width = max(map(len, [*table, "--version"]))
    rows = [f"  {name:{width}}  {summary}" for name, (_, summary) in table.items()]
    options = [f"  {'--help':{width}}  Print this text.", f"  {'--version':{width}}  Print the version."]
    return "\n".join(["usage: gmlayers COMMAND ...", "", DESCRIPTION, "", "commands:", *rows, "", "options:", *options])


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.errno is not None:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror}; nothing already written is lost"
    return one_line(error)


def _fail_interrupted(hint: str) -> NoReturn:
    _fail(f"interrupted; nothing already written is lost. {hint}".rstrip(), 130)


def _fail(message: str, code: int) -> NoReturn:
    print(f"gmlayers: {visible(message)}", file=sys.stderr)  # noqa: T201
    sys.exit(code)
