"""Prints the changelog's section for a tag, if the tag, the package and the citation name one version.

    python .ci/release_notes.py v1.2.3 > notes.md

Exit code 1, and what disagrees in words, if they do not or the section is missing or empty.
"""

import re
import sys
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent
STATED = {  # file -> where it states the version
    "bench/__init__.py": r'^__version__ = "(.+)"$',
    "CITATION.cff": r"^version: (.+)$",
}


def disagreements(tag: str, home: Path = HOME) -> list[str]:
    """Every file that states another version than the tag, in words."""
    found = []
    for name, pattern in STATED.items():
        match = re.search(pattern, (home / name).read_text(encoding="utf-8"), re.MULTILINE)
        stated = match[1] if match else "no version"
        if tag != f"v{stated}":
            found.append(f"{name} states {stated}, but the tag is {tag}")
    return found


def section(tag: str, home: Path = HOME) -> str:
    """The text under '## 1.2.3' (a date may follow) in CHANGELOG.md; '' where there is none."""
    changelog = (home / "CHANGELOG.md").read_text(encoding="utf-8")
    for part in re.split(r"^## ", changelog, flags=re.MULTILINE)[1:]:
        heading, _, body = part.partition("\n")
        if heading.split()[:1] == [tag.removeprefix("v")]:
            return body.strip()
    return ""


def main() -> int:
    """The exit code: 0 and the notes on standard output, or 1 and the faults on standard error."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    notes, faults = section(sys.argv[1]), disagreements(sys.argv[1])
    if not notes:
        faults.append(f"CHANGELOG.md says nothing about {sys.argv[1].removeprefix('v')}")
    for fault in faults:
        print(fault, file=sys.stderr)
    if not faults:
        print(notes)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
