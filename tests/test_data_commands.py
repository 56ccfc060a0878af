"""`bench data list | verify | get`, offline."""

import pytest
from click.testing import CliRunner
from fabricate_data import SPLIT, fabricate

from bench.commands.data import data
from bench.errors import UserError


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATASETS", str(tmp_path / "cards"))
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")
    fabricate(tmp_path / "data", tmp_path / "cards", ("fab-json", "fab-folder"))
    return lambda *args: CliRunner().invoke(data, args)


def row(output: str, name: str) -> str:
    return next(line for line in output.splitlines() if line.split()[:1] == [name])


def test_list_shows_which_data_sets_are_ready_and_what_is_missing(run, tmp_path):
    (tmp_path / "data" / "fab-json" / SPLIT).unlink()
    done = run("list")
    assert done.exit_code == 0
    assert row(done.output, "fab-folder").split() == ["fab-folder", "5", "30/15/20", "ready"]
    assert f"lacks fab-json/{SPLIT}" in row(done.output, "fab-json")
    assert "lacks dtd" in row(done.output, "dtd")


def test_verify_reports_and_fails_on_damage(run, tmp_path):
    done = run("verify", "fab-json")
    assert done.exit_code == 0, done.output
    assert "5 classes, 65 images decoded" in done.output and "is as its card says" in done.output
    image = tmp_path / "data" / "fab-json" / "images" / "barn" / "0003.jpg"
    image.write_bytes(image.read_bytes()[:300])
    done = run("verify", "fab-json")
    assert done.exit_code == 1
    assert f"{image} is damaged" in done.output and "1 problem." in done.output


def test_verify_accepts_another_data_folder(run, tmp_path):
    done = run("verify", "fab-json", "--root", str(tmp_path / "elsewhere"))
    assert done.exit_code == 1 and "no folder" in done.output


def test_get_prints_the_steps_to_do_by_hand(run, tmp_path):
    done = run("get", "stanford_cars")
    assert done.exit_code == 0
    assert "split_zhou_StanfordCars.json from https://drive.google.com/" in done.output
    assert f"Put it into {tmp_path / 'data' / 'stanford_cars'}" in done.output
    assert "512b227b30e2f0a8aab9e09485786ab4479582073a144998da74d64b801fd288" in done.output
    assert "Then: bench data verify stanford_cars" in done.output


def test_list_shows_a_broken_card_and_all_the_others(run, tmp_path):
    (tmp_path / "cards" / "bad.toml").write_text("title = 3")
    done = run("list")
    assert done.exit_code == 0
    assert "broken card" in row(done.output, "bad") and "ready" in row(done.output, "fab-folder")


def test_get_fails_when_a_download_does(run, monkeypatch):
    def down(*args):
        raise UserError("cannot download http://nowhere: no route to host")

    monkeypatch.setattr("bench.data.download.fetch", down)
    done = run("get", "dtd")
    assert done.exit_code == 1
    assert "no route to host" in done.output and "not downloaded: " in done.output
