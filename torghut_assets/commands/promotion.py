"""``torghut promotion``: apply, take back and show the ConfigMap patch of a promoted candidate.

Whether a patch may exist is decided in the lane; here are only the files.
"""

from dataclasses import asdict
from pathlib import Path

import click

from torghut_runtime.command_line import ExitCode, end, examples, json_option, path_option, print_json

_CONFIGMAP = "deploy/k8s/base/strategy-configmap.yaml"
_PATCH = "artifacts/demo/daily-momentum/paper-candidate/strategy-configmap-patch.yaml"


@click.group()
def promotion() -> None:
    """Apply, revert or show the ConfigMap patch of a promoted candidate."""


@promotion.command(epilog=examples(f"torghut promotion apply {_PATCH} --configmap {_CONFIGMAP} --in-place"))
@click.argument("patch", type=click.Path(path_type=Path))
@path_option("--configmap", required=True, help="The ConfigMap manifest that the patch was made against.")
@click.option("--in-place", is_flag=True, help="Replace the file, keeping what it was; otherwise print the result.")
def apply(patch: Path, configmap: Path, in_place: bool) -> None:
    """Apply PATCH to a ConfigMap. A ConfigMap that changed since the patch was rendered is refused (exit 3)."""
    from torghut_assets.promotion.configmap import PatchRefusedError, apply_patch
    from torghut_assets.promotion.configmap_file import apply_in_place, read_text

    try:
        if in_place:
            apply_in_place(configmap, patch)
        else:
            click.echo(apply_patch(read_text(configmap), read_text(patch)), nl=False)
    except PatchRefusedError as error:
        click.echo(f"torghut promotion apply: {error}", err=True)
        end(ExitCode.DENIED)


@promotion.command(epilog=examples(f"torghut promotion revert --configmap {_CONFIGMAP}"))
@path_option("--configmap", required=True, help="The ConfigMap manifest that a patch was applied to in place.")
def revert(configmap: Path) -> None:
    """Restore, byte for byte, the ConfigMap that the last patch replaced."""
    from torghut_assets.promotion.configmap_file import revert_in_place

    revert_in_place(configmap)


@promotion.command(epilog=examples(f"torghut promotion show {_PATCH} --configmap {_CONFIGMAP}"))
@click.argument("patch", type=click.Path(path_type=Path))
@path_option("--configmap", help="Name what the patch adds to and replaces in this ConfigMap.")
@json_option
def show(patch: Path, configmap: Path | None, as_json: bool) -> None:
    """Say what PATCH is for: its candidate, run, mode and strategies."""
    from torghut_assets.promotion.configmap import show_patch
    from torghut_assets.promotion.configmap_file import read_text

    summary = show_patch(read_text(patch), None if configmap is None else read_text(configmap))
    if as_json:
        print_json(asdict(summary))
        return
    click.echo(f"for ConfigMap {summary.configmap}")
    for key, value in sorted(summary.annotations.items()):
        click.echo(f"  {key.partition('/')[2]:18} {value}")
    for strategy in summary.strategies:
        change = " (added)" if strategy in summary.added else " (replaced)" if strategy in summary.replaced else ""
        click.echo(f"  strategy           {strategy}{change}")
