"""``torghut candidates``: what has been evaluated, and how two candidates differ. Nothing here writes."""

import click

from torghut_runtime.command_line import examples, json_option, print_json, print_table


@click.group()
def candidates() -> None:
    """Compare evaluated candidates."""
