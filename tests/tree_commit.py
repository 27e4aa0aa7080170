"""Which code a campaign ran, for its ledger: asked of git when the campaign begins, never put in afterwards."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def tree_commit(root: Path = ROOT) -> str:
    """The commit that is checked out at ``root``; ``+changes`` behind it where tracked files differ from it.

    Raises:
        subprocess.CalledProcessError: this is no clone.
    """
    commit = _asked(root, "rev-parse", "HEAD")
    return f"{commit}+changes" if _asked(root, "status", "--porcelain", "--untracked-files=no") else commit


def _asked(root: Path, *words: str) -> str:
    # The tree may belong to another user, as in a container; it is only read.
    command = ["git", "-c", f"safe.directory={root}", *words]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.strip()
