"""The `nadir` command: thin, with every heavy import inside the command that needs it."""

from __future__ import annotations

import sys

import typer

from nadir.cli.generate import generate
from nadir.cli.params import app as params_app
from nadir.cli.run import run
from nadir.cli.sample_data import sample_data
from nadir.cli.schedule import schedule
from nadir.cli.servers import servers
from nadir.cli.status import status
from nadir.ground.errors import NadirError

app = typer.Typer(
    name="nadir",
    help="Fine-tune SDXL on tagged illustrations: v-prediction, zero terminal SNR, every run kept.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(run)
app.command()(status)
app.command()(generate)
app.command("sample-data")(sample_data)
app.command()(schedule)
app.command()(servers)
app.add_typer(params_app, name="params")


def main() -> None:
    """Run the command line; a fault the user can mend is one message and exit code 1."""
    try:
        app()
    except NadirError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; run the same command again to go on\n")
        raise SystemExit(130) from None
