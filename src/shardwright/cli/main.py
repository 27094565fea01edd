"""The command line: one file a verb, imported only when it is called."""

import atexit
import gc
import importlib
import os
import sys

import click

from shardwright import __version__
from shardwright.errors import EnvironmentLacksError, InputError, ShardwrightError

VERBS = {
    "plan": "the best split of a model over a cluster, with its reasons",
    "audit": "hold a strategy, and what is claimed of it, against the arithmetic",
    "explain": "why this layout, why not that one, and what would cure it",
    "graph": "what every GPU does, and when",
    "prove": "execute the layout, and compare with the unsharded model",
    "launch": "the commands and files that start the layout on an engine",
    "simulate": "the layout under a load of requests, as its clients would see it",
    "bench": "start it, measure it with its own client, keep the row",
    "validate": "predicted beside measured: every row of a file, with the errors by slice",
    "calibrate": "measured operators to a profile of the device, with its errors",
    "run": "generate tokens with the layout",
    "inspect": "what a running server says and measures, and how it stands to a plan",
}


GARBAGE_OBJECTS = 100_000
"""New objects between two searches for garbage. By default they are 700, and a tenth of a plan's CPU time
goes into modules and records that live to its end."""

SHOWN = 120
"""Characters of a file's name in a message."""


class Verbs(click.Group):
    """Finds a verb's command in shardwright.cli.VERB, so that start-up pays for one verb only."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"shardwright.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="shardwright")
def cli() -> None:
    """Decides how a large language model is split over a GPU cluster, and shows why.

    Exit status: 0 met, 1 findings or a target missed, 2 bad input, 3 the environment lacks something.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit; every error of the user's is one message on stderr."""
    gc.set_threshold(GARBAGE_OBJECTS)
    # Else pydantic reads the metadata of every package that is installed, to ask for plugins for our records.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    atexit.register(gc.freeze)  # else a tenth of a plan's CPU time goes into the search for garbage on exit
    try:
        sys.exit(cli.main(arguments, prog_name="shardwright", standalone_mode=False) or 0)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except ShardwrightError as error:
        click.echo(f"shardwright: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:
        # What the system refuses before anyone could ask what it holds: a name too long, a full disk.
        name = str(error.filename or "this machine")
        click.echo(f"shardwright: {name[:SHOWN]}{'...' * (len(name) > SHOWN)}: {error.strerror}", err=True)
        sys.exit(EnvironmentLacksError.exit_code if error.filename is None else InputError.exit_code)


if __name__ == "__main__":
    main()
