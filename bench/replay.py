"""Runs a record's cell again, with the language model's answers from its transcript. Nothing is sent."""

import hashlib
from dataclasses import replace
from pathlib import Path

from bench.chat import ChatSettings
from bench.errors import UserError
from bench.files import read_bytes
from bench.isolation import Spoiled
from bench.lab import Lab, Settings
from bench.record import ChatLog, Record, lasting
from bench.resolve import resolve_record
from bench.runner import run_cell


def replay_faults(record: Record, chat: ChatLog, file: Path, lab: Lab) -> list[str]:
    """Why the transcript beside a record does not give the same record again; empty if it does."""
    transcript = file.with_name(Path(chat.file).name)
    try:
        digest = hashlib.sha256(read_bytes(transcript)).hexdigest()
    except UserError:
        return [f"its transcript {transcript.name} is missing: keep it beside the record"]
    if digest != chat.sha256:
        return [f"its transcript {transcript.name} is not the one with which it was made: restore that one"]
    settings = replace(lab.settings, chat=ChatSettings(replay=str(transcript)))
    try:
        again = run_cell(resolve_record(record), settings, lab)
    except Spoiled as error:
        again = error.record
    except UserError as error:
        return [f"cannot be replayed here: {error}"]
    if not again.ok:
        return [f"its replay fails: {again.reason}"]
    mine, other = lasting(record), lasting(again)
    differing = [name for name in mine if mine[name] != other.get(name)]
    return [f"its replay gives another record: {', '.join(differing)} differ"] if differing else []


def fresh_lab(root: str | None) -> Lab:
    """A lab that does not use the network. root: the folder of the papers' data sets."""
    return Lab(Settings(data_root=root, offline=True))
