"""Finding the files that torghut ships for users to start from: sample data, configuration, the project template.

In a checkout they stand where people edit them; an installed wheel carries copies of ``config/`` and ``deploy/``. What
is in them is not this module's business.
"""

from pathlib import Path

_PACKAGE = Path(__file__).parent
SAMPLE_BARS = _PACKAGE / "sample_data" / "us5_daily_raw_quandlwiki.parquet"
"""Daily bars of five US stocks, public domain."""
PROJECT_TEMPLATE = _PACKAGE / "project_template"
"""What ``torghut init`` copies."""


def shipped(path: str) -> Path:
    """The file that a checkout has at ``path``, wherever this installation keeps it.

    Raises:
        FileNotFoundError: the installation is incomplete.
    """
    for root in (_PACKAGE / "shipped", _PACKAGE.parent):
        if (root / path).is_file():
            return root / path
    raise FileNotFoundError(f"this installation of torghut lacks {path}")
