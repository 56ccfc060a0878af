"""The wheel contains everything that a run needs, only `bench` is at its top level, and it runs."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

from bench.paths import checkout
from bench.plugins import DATASETS, METHODS

HOME = checkout()
pytestmark = [
    pytest.mark.skipif(HOME is None, reason="not a checkout"),
    pytest.mark.skipif(importlib.util.find_spec("hatchling") is None, reason="no hatchling to build with"),
    pytest.mark.skipif(importlib.util.find_spec("build") is None, reason="no build to build with"),
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, HOME]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def names(wheel):
    with ZipFile(wheel) as archive:
        return archive.namelist()


def test_only_bench_becomes_importable(names):
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"bench"}


def test_every_method_and_card_is_in_it(names):
    def stems(folder, ending):
        found = [Path(n) for n in names if n.startswith(f"bench/{folder}/") and n.endswith(ending)]
        return sorted(path.stem for path in found if path.stem != "__init__")

    assert stems("methods", ".py") == sorted(path.stem for path in (HOME / "methods").glob("*.py"))
    assert stems("datasets", ".toml") == sorted(path.stem for path in (HOME / "datasets").glob("*.toml"))


def test_every_file_of_the_package_is_in_it_and_no_other(names):
    if not shutil.which("git") or not (HOME / ".git").exists():
        pytest.skip("no git to ask which files are ours")
    tracked = subprocess.check_output(["git", "ls-files", "bench", "results/published"], cwd=HOME, text=True)
    ours = {name.replace("results/published/", "bench/report/published/") for name in tracked.splitlines()}
    ours = {
        name
        for name in ours
        if (HOME / name.replace("bench/report/published/", "results/published/")).exists()
    }
    assert ours <= set(names)
    assert [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".tmp"))] == []


def test_the_licence_and_the_command_are_in_it(wheel, names):
    with ZipFile(wheel) as archive:
        (licence,) = (name for name in names if name.endswith("licenses/LICENSE"))
        assert b"Apache License" in archive.read(licence)
        (entry,) = (name for name in names if name.endswith("entry_points.txt"))
        assert b"bench = bench.__main__:main" in archive.read(entry)


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A virtual environment with the wheel and Hugging Face's `datasets`.

    It uses the large packages of this environment. Returns a function that runs one of its commands, from a
    folder that is not the checkout.
    """
    folder = tmp_path_factory.mktemp("venv")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    (site,) = folder.glob("lib/python*/site-packages")
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    # These folders come later on the path, and packages that were installed with -e are not in them.
    (site / "borrowed.pth").write_text("\n".join(borrowed))
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("BENCH_", "PYTHON"))}
    clean["BENCH_CACHE"] = str(elsewhere / "cache")

    def run(*command, check=True):
        program = [folder / "bin" / command[0], *command[1:]]
        done = subprocess.run(program, cwd=elsewhere, env=clean, capture_output=True, text=True)
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done

    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    hugging_face = subprocess.run([*pip, "datasets"], capture_output=True, text=True)
    if hugging_face.returncode:
        pytest.skip(
            f"pip cannot get Hugging Face's datasets: {hugging_face.stderr.strip().splitlines()[-1:]}"
        )
    subprocess.run([*pip, "--no-deps", wheel], check=True, capture_output=True)
    return run


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_installed_wheel_finds_its_methods_and_cards(installed):
    assert "Usage: bench" in installed("bench", "--help").stdout
    script = (
        "import json, bench; from bench.plugins import DATASETS, METHODS, load_method\n"
        "print(json.dumps([bench.__file__, list(METHODS.files()), list(DATASETS.files())]))\n"
        "assert all(load_method(name).title for name in METHODS.files())"
    )
    where, methods, cards = json.loads(installed("python", "-c", script).stdout)
    assert not where.startswith(str(HOME))
    assert methods == list(METHODS.files())
    assert cards == list(DATASETS.files())
    listed = installed("bench", "data", "list").stdout
    assert [name for name in cards if name not in listed] == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_hugging_faces_datasets_stays_importable(installed):
    script = (
        "import datasets; from bench.plugins import DATASETS\n"
        "assert len(datasets.Dataset.from_dict({'a': [1, 2]})) == 2 and DATASETS.files()\n"
        "import bench.runner; print(datasets.__file__)"
    )
    assert "site-packages/datasets/__init__.py" in installed("python", "-c", script).stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", ["--workers=1", "--local"])
def test_the_installed_wheel_runs_a_cell(installed, how):
    chosen = [
        "--methods",
        "manual,zip",
        "--datasets",
        "mini-digits",
        "--budget",
        "20",
        "--results",
        how.strip("-"),
    ]
    done = installed("bench", "run", *chosen, how)
    assert "mini-digits" in done.stdout + done.stderr
    again = installed("bench", "run", *chosen, "--local", "--dry-run").stdout
    assert "0 of 2 cells to run" in again


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_installed_wheel_writes_plug_ins_beside_the_user_and_none_into_itself(installed):
    """A method and a data set of the user's own go to the current folder, and run from there."""
    script = (
        "import pathlib, bench, numpy as np; from PIL import Image\n"
        "for i, name in enumerate(('red', 'blue')):\n"
        "    folder = pathlib.Path('photos', name); folder.mkdir(parents=True)\n"
        "    for j in range(4):\n"
        "        colour = np.full((32, 32, 3), (90 * i, 20 * j, 99), dtype=np.uint8)\n"
        "        Image.fromarray(colour).save(folder / f'{j}.png')\n"
        "home = pathlib.Path(bench.__file__).parent\n"
        "print(sorted(str(path) for path in home.rglob('*') if '__pycache__' not in path.parts))"
    )
    before = installed("python", "-c", script).stdout
    assert "wrote methods/mine.py" in installed("bench", "new-method", "mine").stdout
    assert "wrote datasets/photos.toml" in installed("bench", "new-dataset", "photos").stdout
    chosen = ["--methods", "mine", "--datasets", "photos", "--budget", "20", "--results", "own"]
    assert "photos" in installed("bench", "run", *chosen, "--local").stdout
    assert installed("python", "-c", script.replace("mkdir(parents=True)", "exists()")).stdout == before
