"""What the documents say about work on the project is true: commands, links, versions, workflows."""

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from packaging.specifiers import SpecifierSet

from bench.commands.main import main
from bench.paths import checkout

HOME = checkout() or Path()
pytestmark = pytest.mark.skipif(not (HOME / ".github").is_dir(), reason="not a checkout with its workflows")

Done = subprocess.CompletedProcess[str]
WORKFLOWS = sorted(HOME.glob(".github/workflows/*.yml"))
FORMS = sorted(HOME.glob(".github/ISSUE_TEMPLATE/*.yml"))
PAGES = [
    *sorted(set(HOME.glob("*.md")) - {HOME / "CHANGELOG.md"}),  # it may name commands that were removed
    *sorted(HOME.glob(".github/*.md")),
    HOME / "datasets" / "README.md",
    *sorted(HOME.glob("docs/**/*.md")),
]
# An action of ours, or one pinned to a major version, to the branch of one, or to a commit.
PINNED = re.compile(r"\./.+|[\w-]+/[\w/-]+@(v\d+|release/v\d+|[0-9a-f]{40})")


def short(path: Path) -> str:
    return str(path.relative_to(HOME))


def parsed(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def strings(tree: Any) -> Iterator[str]:
    """Every string in a parsed YAML file, without the keys."""
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, dict | list):
        for value in tree.values() if isinstance(tree, dict) else tree:
            yield from strings(value)


def steps(workflow: Path) -> list[dict[str, Any]]:
    """The steps of all jobs, and the jobs that call another workflow."""
    return [step for job in parsed(workflow)["jobs"].values() for step in job.get("steps", [job])]


def in_shell(script: str) -> Iterator[list[str]]:
    """The words after `bench` of every bench command in a shell script. bench may be in any folder."""
    for line in script.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        for ends, words in groupby(lexer, key=lambda word: bool(set(word) <= set("();<>|&"))):
            command = list(words)
            if not ends and command[0].rpartition("/")[2] == "bench":
                yield command[1:]


def in_markdown(text: str) -> Iterator[list[str]]:
    """The same for the blocks of shell and the code spans of a page."""
    blocks = r"^ *```(.*?)\n(.*?)^ *```"
    for language, block in re.findall(blocks, text, re.M | re.S):
        if language in ("", "sh", "bash", "console"):
            yield from in_shell(block)
    rest = re.sub(blocks, "", text, flags=re.M | re.S)
    for span in re.findall(r"`([^`]+)`", rest):
        if span.startswith("bench "):
            yield from in_shell(span.replace("\n", " "))


def commands(path: Path) -> list[list[str]]:
    """Every bench command in a file of the project."""
    if path in WORKFLOWS:
        return [words for step in steps(path) for words in in_shell(step.get("run", ""))]
    if path.suffix == ".yml":
        texts = list(strings(parsed(path)))
        spans = [words for text in texts for words in in_markdown(text)]
        return spans + [words for text in texts if text.startswith("bench ") for words in in_shell(text)]
    return list(in_markdown(path.read_text(encoding="utf-8")))


def look_up(
    words: list[str], command: click.Command = main, parent: click.Context | None = None
) -> click.Command:
    """The command that these words name. Raises click.UsageError if it or an option does not exist."""
    context = click.Context(command, parent, info_name=command.name, **command.context_settings)
    _, rest, _ = command.make_parser(context).parse_args(list(words))
    if not rest:
        return command
    found = command.get_command(context, rest[0]) if isinstance(command, click.Group) else None
    if found is None:
        raise click.UsageError(f"{context.command_path} knows no {rest[0]!r}")
    return look_up(rest[1:], found, context)


@pytest.mark.parametrize("path", [*WORKFLOWS, *FORMS], ids=short)
def test_every_yaml_file_parses(path: Path) -> None:
    assert isinstance(parsed(path), dict)


@pytest.mark.parametrize("path", [*WORKFLOWS, *FORMS, *PAGES], ids=short)
def test_the_bench_commands_that_a_file_shows_exist(path: Path) -> None:
    for words in commands(path):
        try:
            look_up(words)
        except click.UsageError as error:
            pytest.fail(f"{short(path)}: bench {shlex.join(words)}: {error.format_message()}")


def test_the_commands_in_the_pages_are_found() -> None:
    """If none were found, the test above would check nothing."""
    found = {short(path): commands(path) for path in [*WORKFLOWS, *FORMS, *PAGES]}
    assert ["run", "--methods", "manual", "--datasets", "mini-digits", "--local"] in found[
        ".github/workflows/ci.yml"
    ]
    assert ["results", "verify", "FOLDER"] in found[".github/ISSUE_TEMPLATE/result.yml"]
    assert ["check", "NAME"] in found[".github/pull_request_template.md"]
    assert found["RELEASING.md"][-1][:4] == [
        "results",
        "verify",
        "results",
        "--rescore",
    ]  # in an indented block
    assert ["new-method", "mine"] in found["CONTRIBUTING.md"]
    assert ["check", "mine"] in found["AGENTS.md"]  # without the comment after it


@pytest.mark.parametrize("line", ["nothing", "--nothing", "run --nothing", "results nothing", "check a b"])
def test_a_command_that_does_not_exist_is_refused(line: str) -> None:
    with pytest.raises(click.UsageError):
        look_up(line.split())


def test_looking_up_a_command_does_not_run_it() -> None:
    assert look_up(["run", "--methods", "zip,manual", "-b", "5", "--local"]) is main.get_command(
        click.Context(main), "run"
    )
    assert look_up(["--help"]) is main


@pytest.mark.parametrize("page", PAGES, ids=short)
def test_relative_links_lead_to_existing_files(page: Path) -> None:
    targets = re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    local = [target.partition("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_contributing_links_the_other_pages() -> None:
    text = (HOME / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert [name for name in ("AGENTS.md", "RELEASING.md", "SECURITY.md") if f"({name})" not in text] == []


def test_the_gate_runs_on_versions_that_the_package_allows() -> None:
    project = (HOME / "pyproject.toml").read_text(encoding="utf-8")
    (allowed,) = re.findall(r'^requires-python = "(.+)"$', project, re.MULTILINE)
    jobs = parsed(HOME / ".github/workflows/ci.yml")["jobs"]
    versions = jobs["gate"]["strategy"]["matrix"]["python-version"]
    asked = [step.get("with", {}).get("python-version") for path in WORKFLOWS for step in steps(path)]
    versions += [version for version in asked if version and not str(version).startswith("${{")]
    assert "3.10" in versions  # as text: without quotes, YAML reads the number 3.1
    assert [version for version in versions if version not in SpecifierSet(allowed)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=short)
def test_a_workflow_has_few_rights_a_time_limit_and_pinned_actions(path: Path) -> None:
    """It may only read unless it asks for more, every job has a time limit, and its actions are pinned."""
    workflow = parsed(path)
    assert workflow["permissions"] in ({}, {"contents": "read"})
    endless = [name for name, job in workflow["jobs"].items() if not {"timeout-minutes", "uses"} & set(job)]
    assert endless == []
    used = [step["uses"] for step in steps(path) if "uses" in step]
    assert [action for action in used if not PINNED.fullmatch(action)] == []


def script(name: str, *arguments: str, home: Path = HOME) -> Done:
    """Run the program .ci/`name` of a checkout with this Python and this package."""
    path = os.pathsep.join(filter(None, [str(HOME), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, str(home / ".ci" / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path})


def test_the_current_version_has_release_notes() -> None:
    import bench

    done = script("release_notes.py", f"v{bench.__version__}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() and "\n## " not in done.stdout


def test_a_tag_of_another_version_is_refused_with_a_message() -> None:
    done = script("release_notes.py", "v99.0.0")
    assert done.returncode == 1 and not done.stdout
    for said in ("bench/__init__.py states", "CITATION.cff states", "CHANGELOG.md says nothing about 99.0.0"):
        assert said in done.stderr


def test_notes_end_where_the_next_version_begins(tmp_path: Path) -> None:
    text = "# Changes\n\n## 1.1.0 (2026-01-01)\n\n- New.\n\n## 1.0.0\n\n- Old.\n"
    (tmp_path / "CHANGELOG.md").write_text(text)
    section = runpy.run_path(str(HOME / ".ci" / "release_notes.py"))["section"]
    assert section("v1.1.0", tmp_path) == "- New."
    assert section("v1.0.0", tmp_path) == "- Old."
    assert section("v1", tmp_path) == ""


def test_a_changed_record_selects_its_row_and_no_other(tmp_path: Path) -> None:
    shutil.copytree(HOME / ".ci", tmp_path / ".ci")
    suite = Path("results", "mini", "few-shot")
    for folder in ("mini-digits/zip", "mini-colors/zip", "mini-colors/spsa"):
        (tmp_path / suite / folder).mkdir(parents=True)
    rows = runpy.run_path(str(tmp_path / ".ci" / "records.py"))["rows"]
    touched = suite / "mini-digits" / "zip" / "seed1.json"
    assert rows([touched]) == [suite / "mini-colors" / "zip", suite / "mini-digits" / "zip"]
    assert rows([Path("results", "gone.json")]) == []


@pytest.fixture
def submission(tmp_path: Path) -> Callable[[], Done]:
    """A repository that contains only .ci. The function commits what was written since and verifies it."""
    if not shutil.which("git"):
        pytest.skip("no git")
    shutil.copytree(HOME / ".ci", tmp_path / ".ci")

    def git(*arguments: str) -> None:
        who = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    def submit() -> Done:
        git("add", "--all")
        git("commit", "--message", "change")
        return script("records.py", "HEAD^", home=tmp_path)

    git("init")
    git("add", "--all")
    git("commit", "--message", "start")
    return submit


def test_the_records_of_a_branch_are_verified(submission: Callable[[], Done], tmp_path: Path) -> None:
    cell = "bench run --methods manual --datasets mini-digits --local --results results"
    subprocess.run([sys.executable, "-m", *cell.split()], cwd=tmp_path, check=True, capture_output=True)
    added = submission()
    assert added.returncode == 0, added.stdout + added.stderr
    assert "1 record: fit for the leaderboard" in added.stdout

    (record,) = (tmp_path / "results").rglob("*.json")
    record.write_text(re.sub(r'"seed": \d+', '"seed": "one"', record.read_text()))
    changed = submission()
    assert changed.returncode == 1
    assert f"{record.relative_to(tmp_path)}: damaged" in changed.stdout

    (tmp_path / "other.txt").write_text("no record")
    untouched = submission()
    assert untouched.returncode == 0 and "changed or removed: 0" in untouched.stdout

    astray = record.rename(tmp_path / "results" / "astray.json")
    moved = submission()
    assert moved.returncode == 1 and f"{astray.relative_to(tmp_path)}: damaged" in moved.stdout

    astray.unlink()
    removed = submission()
    assert removed.returncode == 0 and "changed or removed: 1; folders to verify: 0" in removed.stdout

    unknown = script("records.py", "no-such-branch", home=tmp_path)
    assert unknown.returncode == 2 and "no-such-branch" in unknown.stderr
