"""What verbs that simulate say where nothing compiles their loops."""

import click

from shardwright.serving.compiled import IS_COMPILED


def say_if_slow() -> None:
    """On stderr, where loops over requests are not compiled."""
    if not IS_COMPILED:
        click.echo("numba is not installed (extra `serving`): this takes a hundred times longer", err=True)
