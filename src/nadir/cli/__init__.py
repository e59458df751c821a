"""The `nadir` command: thin, with every heavy import inside the command that needs it."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from nadir.cli.clean import clean
from nadir.cli.dataset.captions import captions
from nadir.cli.dataset.data import app as data_app
from nadir.cli.dataset.latents import app as latents_app
from nadir.cli.dataset.sample_data import sample_data
from nadir.cli.doctor import doctor
from nadir.cli.model.compare import compare
from nadir.cli.model.evaluate import evaluate
from nadir.cli.model.export import export
from nadir.cli.model.generate import generate
from nadir.cli.model.inspect import inspect as inspect_model
from nadir.cli.model.lineage import lineage
from nadir.cli.model.promote import approve, promote, rollback
from nadir.cli.model.rebuild import rebuild
from nadir.cli.model.registry import app as registry_app
from nadir.cli.params import app as params_app
from nadir.cli.plan import plan
from nadir.cli.reproduce import reproduce
from nadir.cli.run import run
from nadir.cli.schedule import schedule
from nadir.cli.servers import servers
from nadir.cli.status import status
from nadir.cli.train import train
from nadir.compute.waiting import bound_spinning
from nadir.ground.errors import NadirError, disk_full_error
from nadir.ground.inherited import forget_python_switches
from nadir.ground.logs.setup import begin
from nadir.ground.secrets import mask_logs, scrub
from nadir.ground.terminal import guard, harmless

if TYPE_CHECKING:
    from collections.abc import Callable


# Before a command loads its libraries.
forget_python_switches()
bound_spinning()


def _help(command: Callable[..., None]) -> str:
    """A command's docstring, with its examples on lines of their own.

    click joins lines into paragraphs, except in one that a backspace sign precedes.
    """
    return (inspect.getdoc(command) or "").replace("Examples:", "\b\nExamples:")


app = typer.Typer(
    name="nadir",
    help="Fine-tune SDXL on tagged illustrations: v-prediction, zero terminal SNR, every run kept.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command(help=_help(run))(run)
app.command(help=_help(status))(status)
app.command(help=_help(generate))(generate)
app.command(help=_help(evaluate))(evaluate)
app.command(help=_help(compare))(compare)
app.command(help=_help(promote))(promote)
app.command(help=_help(approve))(approve)
app.command(help=_help(rollback))(rollback)
app.command(help=_help(lineage))(lineage)
app.command(help=_help(rebuild))(rebuild)
app.command(help=_help(export))(export)
app.command("inspect", help=_help(inspect_model))(inspect_model)
app.command(help=_help(clean))(clean)
app.command("sample-data", help=_help(sample_data))(sample_data)
app.command(help=_help(schedule))(schedule)
app.command(help=_help(plan))(plan)
app.command(help=_help(captions))(captions)
app.command(help=_help(reproduce))(reproduce)
app.command(help=_help(train))(train)
app.command(help=_help(servers))(servers)
app.command(help=_help(doctor))(doctor)
app.add_typer(params_app, name="params")
app.add_typer(data_app, name="data")
app.add_typer(latents_app, name="latents")
app.add_typer(registry_app, name="registry")


def main() -> None:
    """Run the command line; a fault that the user can correct is one message and exit code 1."""
    mask_logs()
    sys.stdout, sys.stderr = guard(sys.stdout), guard(sys.stderr, bars=True)
    try:
        begin()
        app()
    except NadirError as error:
        sys.stderr.write(f"error: {harmless(str(error))}\n")
        raise SystemExit(1) from None
    except OSError as error:
        full = disk_full_error(error, where=str(error.filename or Path.cwd()))
        if full is None:
            scrub(error)
            raise
        sys.stderr.write(f"error: {harmless(str(full))}\n")
        raise SystemExit(1) from None
    except Exception as error:
        scrub(error)
        raise
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; run the same command again to go on\n")
        raise SystemExit(130) from None
