"""``torghut init``: a project folder outside the repository, from ``torghut_assets/project_template``."""

import re
import shutil
import tempfile
from pathlib import Path
from string import Template

import click

from torghut_runtime.command_line import ExitCode, examples, json_option, print_json
from torghut_runtime.errors import InputError

_SHIPPED = ("config/research.yaml", "config/autonomous-gate-policy.json", "deploy/k8s/base/strategy-configmap.yaml")
_SUFFIX = ".template"


@click.command(epilog=examples("torghut init ~/my-strategies"))
@click.argument("directory", type=click.Path(path_type=Path))
@json_option
def init(directory: Path, as_json: bool) -> int:
    """Create a project in DIRECTORY: configuration, one strategy plugin, sample bars, a Dagster workspace.

    The folder must be new or empty.
    """
    created = create_project(directory)
    if as_json:
        print_json({"directory": directory, "files": sorted(path.as_posix() for path in created)})
    else:
        click.echo(
            f"{directory}: {len(created)} files\nnext: cd {directory} && pip install --editable . && cat README.md"
        )
    return ExitCode.OK


def create_project(directory: Path) -> list[Path]:
    """Create the project and return its files, relative to it. Nothing is left behind when that fails.

    Raises:
        InputError: the folder is not empty, is a file, or cannot be written.
    """
    name = project_name(directory)
    target = directory.resolve()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError("is not empty; torghut init wants a new or empty folder", file=directory)
    files = project_files(name)
    try:
        return _write(target, files)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", file=directory) from error


def project_name(directory: Path) -> str:
    """The project's name: the folder's, as a Python distribution may be called.

    Raises:
        InputError: the folder's name has no letter.
    """
    name = re.sub(r"[^a-z0-9]+", "-", directory.resolve().name.lower()).lstrip("-0123456789").rstrip("-")
    if not name:
        raise InputError(
            "the folder's name needs a letter: the project and its package are called after it", file=directory
        )
    return name


def project_files(name: str) -> dict[Path, bytes]:
    """Content of every file of a project called ``name``, by path."""
    from torghut_assets.shipped_files import PROJECT_TEMPLATE, SAMPLE_BARS, shipped

    package = name.replace("-", "_")
    files = {Path(path): shipped(path).read_bytes() for path in _SHIPPED}
    files[Path("data") / SAMPLE_BARS.name] = SAMPLE_BARS.read_bytes()
    for source in PROJECT_TEMPLATE.rglob("*"):
        if source.is_dir() or "__pycache__" in source.parts:
            continue
        relative = source.relative_to(PROJECT_TEMPLATE)
        content = source.read_bytes()
        if relative.suffix == _SUFFIX:
            content = Template(content.decode()).substitute(name=name, package=package).encode()
            relative = relative.with_suffix("")
        if relative.parts[0] == "package":
            relative = Path(package, *relative.parts[1:])
        files[Path(".gitignore") if relative == Path("gitignore") else relative] = content
    return files


def _write(target: Path, files: dict[Path, bytes]) -> list[Path]:
    """Write into a staging folder beside the target; an empty folder that is there stays the same folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        for relative, content in files.items():
            (staging / relative).parent.mkdir(parents=True, exist_ok=True)
            (staging / relative).write_bytes(content)
        staging.chmod(0o755)
        if target.exists():
            _move_content(staging, target)
        else:
            staging.replace(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return sorted(files)


def _move_content(source: Path, target: Path) -> None:
    places = [(child, target / child.name) for child in source.iterdir()]
    try:
        for child, place in places:
            child.replace(place)
    except BaseException:
        for child, place in places:
            if not child.exists():
                place.replace(child)
        raise
