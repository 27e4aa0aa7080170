"""``docs/adr/README.md``: the list of all decision records. Run by ``make docs``; a test keeps the list complete."""

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "docs" / "adr"
_HEAD = """\
# Decision records

Why things are as they are: context, decision, consequences. A record is never rewritten; a later one supersedes it.
`NNNN-title.md`; the number says in what order they are read, not how important they are.

"""


def index() -> str:
    """The page: one line per record, by number, with the record's own title."""
    lines: list[str] = []
    for path in sorted(FOLDER.glob("[0-9][0-9][0-9][0-9]-*.md")):
        title = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        lines.append(f"* [{path.stem[:4]}]({path.name}) {title.removeprefix(path.stem[:4]).lstrip(' :.-–')}\n")
    return _HEAD + "".join(lines)


if __name__ == "__main__":
    (FOLDER / "README.md").write_text(index(), encoding="utf-8")
