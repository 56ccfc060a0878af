"""Cards and suites: ours are right; a malformed one is refused with its file, the key and what to do."""

import pytest

from bench.data.card import Card, card_names, load_card
from bench.errors import UserError
from bench.plugins import SUITES
from bench.resolve import params_in_force
from bench.suite import load_suite

GOOD = """
title = "Mine"
reader = "folder"
template = "a photo of a {}."
classes = 3
licence = "CC0"
sources = ["https://example.org"]

[images]
test = 9
train = 6

[layout]
folder = "mine"
train = "train"
test = "test"
"""


@pytest.fixture
def cards(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATASETS", str(tmp_path))

    def write(old: str = "", new: str = "", name: str = "mine") -> None:
        assert old in GOOD
        (tmp_path / f"{name}.toml").write_text(GOOD.replace(old, new))

    return write


def test_a_users_own_card(cards):
    cards()
    card = load_card("mine")
    assert (card.name, card.n_classes, card.images.train, card.images.val) == ("mine", 3, 6, 0)
    assert "mine" in card_names()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "Mine"\n', "", r"mine\.toml: the key 'title' is missing: add it \(a string\)"),
        ("title", "titel", r"mine\.toml: unknown key 'titel'. Did you mean 'title'\?"),
        ('"Mine"', "Mine", r"mine\.toml is not valid TOML: .*line 2.*Correct that line"),
        ("classes = 3", 'classes = "3"', r"mine\.toml: classes is '3', but must be a whole number or a list"),
        ("classes = 3", "classes = 1", r"mine\.toml: a data set needs at least 2 classes"),
        ("classes = 3", 'classes = ["a", "b", "a"]', r"mine\.toml: class names appear twice, .*: a"),
        ("classes = 3", 'classes = ["a", 2]', r"mine\.toml: classes\[1\] is 2, but must be a string"),
        ('"folder"', '"foldr"', r"mine\.toml: no reader 'foldr'. Did you mean 'folder'\?"),
        ("a {}.", "a.", r"mine\.toml: template 'a photo of a.' must hold one \{\} for the class name"),
        ("a {}.", "a {name}.", r"mine\.toml: template .* must hold one \{\}"),
        ("test = 9", "", r"mine\.toml: images: the key 'test' is missing: add it \(a whole number\)"),
        ("test = 9", "test = true", r"mine\.toml: images: test is True, but must be a whole number"),
        ("test = 9", "test = -9", r"mine\.toml: images: image counts cannot be negative"),
        ("train = 6", "trian = 6", r"mine\.toml: images: unknown key 'trian'. Did you mean 'train'\?"),
        ('"mine"', '"../mine"', r"mine\.toml: layout: layout.folder is '\.\./mine', but must stay inside"),
        ('"mine"', '"/mine"', r"mine\.toml: layout: layout.folder is '/mine', but must stay inside"),
        (
            'folder = "mine"\n',
            'folder = "mine"\nsha256 = "abc"\n',
            r"mine\.toml: layout: layout.sha256 must be 64",
        ),
    ],
)
def test_a_malformed_card_is_refused(cards, old, new, message):
    cards(old, new)
    with pytest.raises(UserError, match=message):
        load_card("mine")


def test_a_card_of_files_on_disk_needs_a_layout(cards, tmp_path):
    (tmp_path / "mine.toml").write_text(GOOD.split("[layout]")[0])
    with pytest.raises(UserError, match=r"mine\.toml: reader 'folder' needs a \[layout\] table"):
        load_card("mine")


def test_a_rendered_data_set_needs_class_names(cards):
    cards('"folder"', '"mini"')
    with pytest.raises(UserError, match=r"mine\.toml: reader 'mini' needs `classes` as a list of names"):
        load_card("mine")


def test_two_cards_with_one_name_are_refused(cards):
    cards(name="dtd")
    with pytest.raises(UserError, match=r"several data sets are called 'dtd': .*Rename one"):
        load_card("dtd")


def test_a_users_folder_of_cards_must_exist(monkeypatch, tmp_path):
    monkeypatch.setenv("BENCH_DATASETS", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"BENCH_DATASETS is .*nowhere.*create it or unset"):
        card_names()


def test_the_hash_changes_with_every_key_that_decides_a_result(cards):
    def card(old: str = "", new: str = "") -> Card:
        cards(old, new)
        return load_card("mine")

    assert card().hash == card('"Mine"', '"My own"').hash == card("CC0", "CC BY 4.0").hash
    assert card().hash != card("a photo of", "a picture of").hash
    assert card().hash != card('train = "train"', 'train = "training"').hash


@pytest.mark.parametrize("name", card_names())
def test_every_shipped_card_loads(name):
    card = load_card(name)
    assert card.licence and card.sources and card.title
    for download in card.download:
        assert download.url.startswith(("https://", "http://"))


def test_every_card_of_a_paper_names_the_source_of_its_files():
    for name in card_names():
        card = load_card(name)
        if card.layout is not None:
            assert card.citation and card.download, name
            if card.layout.split.endswith(".json") or card.layout.split == "classnames.txt":
                assert any(card.layout.split in download.what for download in card.download), name


@pytest.mark.parametrize("name", SUITES.files())
def test_every_shipped_suite_loads_and_its_cards_exist(name):
    suite = load_suite(name)
    for dataset in suite.datasets:
        load_card(dataset)
    defined = {"cross-dataset": suite.cross, "ood": suite.ood}
    assert suite.cross and (suite.ood or name == "mini-many")
    for protocol in (protocol for protocol, transfer in defined.items() if transfer):
        source, targets = suite.source(protocol), suite.targets(protocol)
        assert targets and source is not None and source not in targets
        assert load_card(source).images.train > 0
        for target in targets:
            load_card(target)
    assert suite.source("few-shot") is None and suite.targets("few-shot") == ()


def test_the_papers_suites_have_the_papers_settings():
    zip_, craft = load_suite("zip"), load_suite("craft")
    assert (len(zip_.datasets), zip_.backbone, zip_.shots, zip_.batch_size) == (
        13,
        "ViT-B-16/openai",
        16,
        128,
    )
    assert (zip_.budget, zip_.seeds, zip_.augment) == (5000, (1, 2, 3), True)
    assert (zip_.methods["bptvlm"], craft.methods["coop"]["datasets"]["imagenet"]) == (
        {"fitness": "port"},
        {"epochs": 50},
    )
    for suite in (zip_, craft):
        for method, table in suite.methods.items():
            for name in ("", *table.get("datasets", {})):
                params_in_force(suite, method, name)  # every value fits its method
    assert len(zip_.targets("cross-dataset")) == 12 and len(zip_.targets("ood")) == 4
    assert (len(craft.datasets), craft.backbone, craft.budget) == (11, "RN50/openai", 8000)


SUITE = """
title = "Mine"
backbone = "mini"
encoder = "mini"
shots = 4
batch_size = 32
seeds = [1]
budget = 100
augment = false
datasets = ["dtd", "eurosat"]

[cross]
source = "dtd"

[methods.zip]
rank = 3
"""


def test_a_users_own_suite(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(SUITE)
    suite = load_suite(str(path))
    assert suite.name == "mine" and suite.methods == {"zip": {"rank": 3}}
    assert suite.source("cross-dataset") == "dtd" and suite.targets("cross-dataset") == ("eurosat",)
    with pytest.raises(UserError, match=r"suite 'mine' does not define 'ood': add a \[ood\] table to it"):
        suite.targets("ood")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("budget = 100", "budget = 0", r"mine\.toml: shots, batch_size and budget must be at least 1"),
        ("seeds = [1]", "seeds = []", r"mine\.toml: datasets and seeds must not be empty"),
        ('"eurosat"]', '"dtd"]', r"mine\.toml: datasets holds an entry twice"),
        ("source", "sauce", r"mine\.toml: cross: unknown key 'sauce'. Did you mean 'source'\?"),
        ("rank = 3", "rank =", r"mine\.toml is not valid TOML"),
        (
            "rank = 3",
            "datasets.dtt.rank = 3",
            r"mine\.toml: \[methods\.zip\.datasets\.dtt\]: 'dtt' is not in `datasets`",
        ),
    ],
)
def test_a_malformed_suite_is_refused(tmp_path, old, new, message):
    (tmp_path / "mine.toml").write_text(SUITE.replace(old, new))
    with pytest.raises(UserError, match=message):
        load_suite(str(tmp_path / "mine.toml"))


def test_a_suite_takes_the_values_of_another(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_SUITES", str(tmp_path))
    other, mine = tmp_path / "other.toml", tmp_path / "mine.toml"
    values = "clip = 2.0\ndatasets.dtd.rank = 5\n[methods.bar]\nstep = 3.0\n"
    other.write_text(SUITE + values)
    mine.write_text(SUITE.replace("augment", 'methods_of = "other"\naugment'))
    before = load_suite("mine")
    assert before.methods == {"zip": {"rank": 3}, "bar": {"step": 3.0}}  # a method's table is taken whole
    mine.write_text(mine.read_text().replace("[methods.zip]\nrank = 3", ""))
    assert load_suite("mine").methods == {"zip": {"rank": 3, "clip": 2.0}, "bar": {"step": 3.0}}
    mine.write_text(SUITE.replace("augment", 'methods_of = "other"\naugment'))
    other.write_text(other.read_text().replace("3.0", "1.0"))
    assert load_suite("mine").hash != before.hash  # both files decide
    other.write_text(mine.read_text())
    with pytest.raises(UserError, match="suite 'mine': methods_of is 'other', but that suite has methods_of"):
        load_suite("mine")
    mine.write_text(mine.read_text().replace('"other"', '"othe"'))
    with pytest.raises(UserError, match=r"no suite 'othe'.*Did you mean 'other'\?"):
        load_suite("mine")


def test_an_unknown_suite_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no suite 'zap'.*Did you mean 'zip'\?"):
        load_suite("zap")
    with pytest.raises(UserError, match="no suite file"):
        load_suite(str(tmp_path / "none.toml"))
