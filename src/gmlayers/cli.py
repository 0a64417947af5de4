"""The command line: a table from name to plain function, and one line for every error."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from gmlayers._names import look_up

DESCRIPTION = """Neural-network layers whose neurons are distributions.

Start with `gmlayers demo`; then `gmlayers train mnist`. Every command has --help.

Data are looked for under $GMLAYERS_DATA first and downloaded into $GMLAYERS_CACHE otherwise."""


def commands() -> dict[str, Callable[..., Any]]:
    """Return the commands by name. Imported here, so that ``import gmlayers.cli`` needs torch alone."""
    from gmlayers.experiments.catalogue import list_all
    from gmlayers.experiments.demo import demo
    from gmlayers.experiments.inference import compare, evaluate, predict
    from gmlayers.experiments.train import train
    from gmlayers_studies.command import archive, plot, reproduce

    return {
        "demo": demo,
        "train": train,
        "evaluate": evaluate,
        "compare": compare,
        "predict": predict,
        "reproduce": reproduce,
        "plot": plot,
        "archive": archive,
        "list": list_all,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; exit with 0, with 2 and one line for an error, or with 130 after Ctrl-C."""
    try:
        _run(sys.argv[1:] if arguments is None else list(arguments))
    except KeyboardInterrupt as interrupt:
        _fail(f"interrupted; nothing already written is lost. {interrupt}".rstrip(), 130)
    except BrokenPipeError:
        sys.stderr.close()  # the reader has gone, as with `| head`
        sys.exit(141)
    except (ValueError, OSError) as error:
        _fail(_one_line(error), 2)
    except (RuntimeError, MemoryError) as error:  # torch's: out of memory, no such device
        _fail(f"{type(error).__name__}: {_one_line(error)}", 2)


def _run(arguments: list[str]) -> None:
    try:
        import tyro

        table = commands()
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("gmlayers"):
            raise
        _fail(f"the commands need {error.name}; install them with: pip install 'gmlayers[experiments]'", 2)
    if arguments and not arguments[0].startswith("-"):
        look_up("command", arguments[0], table)
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        warnings.simplefilter("always", UserWarning)
        tyro.extras.subcommand_cli_from_dict(
            table,
            prog="gmlayers",
            description=DESCRIPTION,
            args=arguments or ["--help"],
            config=(tyro.conf.OmitArgPrefixes,),
        )


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.errno is not None:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror}; nothing already written is lost"
    return " ".join(str(error).split())


def _show_warning(message: Warning | str, *_: object) -> None:
    print(f"gmlayers: note: {message}", file=sys.stderr)  # noqa: T201


def _fail(message: str, code: int) -> NoReturn:
    print(f"gmlayers: {message}", file=sys.stderr)  # noqa: T201
    sys.exit(code)
