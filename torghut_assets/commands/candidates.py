"""``torghut candidates``: what has been evaluated, and how two candidates differ. Nothing here writes."""

import click


@click.group()
def candidates() -> None:
    """Compare evaluated candidates."""
