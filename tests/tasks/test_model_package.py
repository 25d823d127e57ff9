"""A model leaves one workspace and serves in another, or is refused before anything is written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from models.transformer import seeded
from storage import queries
from storage.catalog import Catalog
from storage.gc import gc
from storage.ids import hash_of, sha256_file
from storage.imported import IMPORTED, dataset_id_of
from storage.lineage import Node, trace
from storage.rejects import Rejected
from storage.verify import verify
from storage.workspace import Workspace
from tasks.checkpoint import (
    CARD,
    CODEC,
    FEW_STEPS,
    VOICES,
    WEIGHTS,
    id_of,
    load_checkpoint,
)
from tasks.model_card import README
from tasks.model_package import PACKAGE, PackageError, export_model, import_model, read_package
from tasks.pipeline import ALL
from tests.made_model import tiny_sizes
from tests.made_package import trained
from tests.made_workspace import make_workspace

LOOK = {"extractor": "clip_vit_b16", "sync": "synchformer", "sync_weights": "/mine/sync.pth"}


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, str]:
    """A workspace and its model."""
    workspace = make_workspace(tmp_path_factory.mktemp("origin") / "workspace")
    return workspace, trained(workspace, look=LOOK)


@pytest.fixture(scope="module")
def exported(origin: tuple[Workspace, str]) -> Path:
    """The package of the model, not to be changed."""
    workspace, made = origin
    out = workspace.root.parent / "package"
    export_model(workspace, made[:12], out)
    return out


@pytest.fixture
def package(exported: Path, tmp_path: Path) -> Path:
    """The package, to be changed."""
    return shutil.copytree(exported, tmp_path / "package")


def rewritten(package: Path, **facts: Any) -> None:
    """Changes what a package says, as one that was written so."""
    told = json.loads((package / PACKAGE).read_text()) | facts
    told.pop("digest")
    (package / PACKAGE).write_text(json.dumps(told | {"digest": hash_of("package", told)}))


def carded(package: Path, card: dict[str, Any]) -> None:
    """Gives a package another card, as one that was written so."""
    (package / CARD).write_text(json.dumps(card))
    told = json.loads((package / PACKAGE).read_text())
    files = told["files"] | {CARD: sha256_file(package / CARD)}
    rewritten(package, files=files, checkpoint=told["checkpoint"] | {"checkpoint_id": id_of(card)})


def is_whole(workspace: Workspace) -> bool:
    with Catalog(workspace) as catalog:
        swept = {orphan.ref.partition("/")[0] for orphan in gc(catalog, grace_s=0).orphans}
        return verify(catalog, stages=ALL) == [] and "checkpoints" not in swept


def test_a_package_holds_the_large_weights_in_float16_and_codec_and_voices_as_they_are(
    origin: tuple[Workspace, str], exported: Path
) -> None:
    folder = origin[0].path(f"checkpoints/{origin[1]}")
    for name in (WEIGHTS, FEW_STEPS):
        own, packed = load_file(folder / name), load_file(exported / name)
        assert own.keys() == packed.keys()
        assert {value.dtype for value in packed.values()} == {torch.float16}
        for key, value in packed.items():
            assert torch.equal(value, own[key].half())
    for name in (CODEC, VOICES):
        assert (exported / name).read_bytes() == (folder / name).read_bytes()
    card = json.loads((exported / CARD).read_text())
    assert card["rounded_from"] == origin[1]
    assert card["sha256"][WEIGHTS] == sha256_file(exported / WEIGHTS)
    assert "onset_f1" in (text := (exported / README).read_text())
    assert "voices: that of a recording, `anna`" in text


def test_a_package_leaves_out_the_voices_that_are_not_to_be_asked_for(
    origin: tuple[Workspace, str], tmp_path: Path
) -> None:
    export_model(*origin, tmp_path / "package", without_voices=["anna"])
    voices = load_checkpoint(tmp_path / "package").voices
    assert voices is not None
    assert (voices.names, voices.vectors.shape) == ((), (0, 8))
    text = (tmp_path / "package" / README).read_text()
    assert "anna" not in text
    assert "voices: that of a recording" in text
    with pytest.raises(PackageError, match="'bert' is not one that the model names; those: anna"):
        export_model(*origin, tmp_path / "other", without_voices=["bert"])


def test_a_package_tells_the_facts_of_its_rows_and_nothing_of_the_machine(
    origin: tuple[Workspace, str], exported: Path
) -> None:
    told = json.loads((exported / PACKAGE).read_text())
    with Catalog(origin[0], read_only=True) as catalog:
        (dataset,) = catalog.rows("SELECT * FROM datasets")
    for name in ("dataset_id", "name", "version", "digest", "hours", "train_items", "licences"):
        assert told["dataset"][name] == dataset[name]
    assert told["checkpoint"]["steps"] == 750
    assert told["recipe"]["look"]["sync"] == "synchformer"
    assert not {"scan", "rooms", "train"} & set(told["recipe"])
    text = "".join((exported / name).read_text() for name in (PACKAGE, CARD, README))
    assert "/mine" not in text and str(origin[0].root) not in text


@pytest.fixture(scope="module")
def imported(
    exported: Path, tmp_path_factory: pytest.TempPathFactory, place: Callable[[Path], Path]
) -> tuple[Workspace, str]:
    """A fresh workspace with the model, where an import was killed before; and the model's id."""
    room = Workspace.at(place(tmp_path_factory.mktemp("fresh") / "workspace"))
    left = room.path(f"checkpoints/{read_package(exported).checkpoint_id}") / "half.safetensors"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half of it")
    made, is_new = import_model(room, exported)
    assert is_new and not left.exists()
    return room, made


def test_an_imported_model_is_what_was_exported_in_a_workspace_that_is_whole(
    imported: tuple[Workspace, str], origin: tuple[Workspace, str]
) -> None:
    room, made = imported
    assert made != origin[1]
    with Catalog(room, read_only=True) as catalog:
        (row,) = catalog.rows("SELECT * FROM checkpoints JOIN datasets USING (dataset_id)")
        (score,) = catalog.rows("SELECT * FROM evaluations")
        assert queries.checkpoint_id(catalog) == made
        # Its codec lies beside its weights: the catalog misses none.
        above = trace(catalog, Node("checkpoint", made)).nodes
        assert (above("dataset"), above("codec")) == ([row["dataset_id"]], [])
    assert (row["name"], row["version"], row["steps"]) == (f"{IMPORTED}made", 1, 750)
    assert (score["metric"], score["value"], score["checkpoint_id"]) == ("onset_f1", 0.9, made)
    loaded = load_checkpoint(room.fetch(row["ref"]), made)
    for name, value in seeded(tiny_sizes(), 0).state_dict().items():
        assert loaded.model.state_dict()[name].dtype == torch.float32
        assert torch.equal(loaded.model.state_dict()[name], value.half().float())
    assert loaded.few_steps is not None
    assert is_whole(room)


def test_a_second_import_does_nothing(imported: tuple[Workspace, str], exported: Path) -> None:
    room, made = imported
    with Catalog(room, read_only=True) as catalog:
        before = catalog.snapshot()
    assert import_model(room, exported) == (made, False)
    with Catalog(room, read_only=True) as catalog:
        assert catalog.snapshot() == before


def test_an_import_that_breaks_off_leaves_no_row_and_can_be_made_again(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room, insert = Workspace.at(tmp_path / "workspace"), Catalog.insert

    def broken(catalog: Catalog, table: str, rows: Any) -> None:
        if table == "runs":  # the last of them
            raise ZeroDivisionError
        insert(catalog, table, rows)

    with monkeypatch.context() as patch:
        patch.setattr(Catalog, "insert", broken)
        with pytest.raises(ZeroDivisionError):
            import_model(room, exported)
    with Catalog(room, read_only=True) as catalog:
        for table in ("datasets", "checkpoints", "evaluations", "progress"):
            assert catalog.value(f"SELECT count(*) FROM {table}") == 0
    assert import_model(room, exported)[1]


def test_an_imported_model_exports_as_it_came(
    imported: tuple[Workspace, str], exported: Path, tmp_path: Path
) -> None:
    export_model(*imported, tmp_path / "again")
    assert same_files(exported, tmp_path / "again")


def same_files(one: Path, other: Path) -> bool:
    read = [{path.name: path.read_bytes() for path in place.iterdir()} for place in (one, other)]
    return read[0] == read[1]


def test_a_model_belongs_to_its_own_dataset_and_not_to_another_of_its_name(
    origin: tuple[Workspace, str], exported: Path, package: Path, tmp_path: Path
) -> None:
    room, own = origin
    dataset = json.loads((package / PACKAGE).read_text())["dataset"]
    other = {"digest": "0" * 64, "dataset_id": dataset_id_of("made", "0" * 64), "version": 7}
    card = json.loads((package / CARD).read_text()) | {"first_loss": 1.5}
    carded(package, card)
    rewritten(package, dataset=dataset | other)
    strange, near = import_model(room, package)[0], import_model(room, exported)[0]
    with Catalog(room, read_only=True) as catalog:
        assert queries.dataset_of(catalog, strange)[0] == f"{IMPORTED}made"
        named = {row["checkpoint_id"] for row in queries.checkpoints_on(catalog, "made")}
        assert {own, near} < named and strange not in named
        assert queries.checkpoint_id(catalog) in named
        came, ours, is_of_here = queries.film_recipes(catalog, strange)
        assert not is_of_here
        assert queries.film_recipes(catalog, near) == (ours, ours, True)
    assert "scan" in json.loads(ours) and "scan" not in json.loads(came)
    assert is_whole(room)
    export_model(room, near, tmp_path / "again")
    first, again = (json.loads((p / PACKAGE).read_text()) for p in (exported, tmp_path / "again"))
    assert again["checkpoint"]["checkpoint_id"] == near
    assert again["trained"] == first["trained"]


def cut(package: Path) -> None:
    (package / CODEC).unlink()


def flipped(name: str) -> Callable[[Path], None]:
    def change(package: Path) -> None:
        data = bytearray((package / name).read_bytes())
        data[-2] ^= 1
        (package / name).write_bytes(data)

    return change


def other_phonemes(package: Path) -> None:
    carded(package, json.loads((package / CARD).read_text()) | {"phoneme_table": "0123456789ab"})


def edited(package: Path) -> None:
    told = json.loads((package / PACKAGE).read_text())
    (package / PACKAGE).write_text(json.dumps(told | {"evaluations": []}))


def reaching_out(package: Path) -> None:
    rewritten(package, files={"../../elsewhere": "0" * 64})


@pytest.mark.parametrize(
    ("damage", "error", "said"),
    [
        (cut, PackageError, f"{CODEC} is missing; copy the whole folder again"),
        (flipped(WEIGHTS), PackageError, f"{WEIGHTS} was changed; copy the whole folder again"),
        (flipped(README), PackageError, f"{README} was changed"),
        (lambda p: (p / PACKAGE).unlink(), PackageError, "that `talkies model export` wrote"),
        (lambda p: (p / PACKAGE).write_text("{"), PackageError, "is not JSON"),
        (lambda p: rewritten(p, format=2), PackageError, "its format is 2, and this talkies reads"),
        (edited, PackageError, f"{PACKAGE} was changed"),
        (reaching_out, PackageError, "elsewhere', which no model has"),
        (other_phonemes, Rejected, "its phoneme ids are of table 0123456789ab"),
    ],
)
def test_what_is_not_as_it_was_exported_is_refused_and_nothing_is_written(
    package: Path,
    tmp_path: Path,
    damage: Callable[[Path], object],
    error: type[Exception],
    said: str,
) -> None:
    damage(package)
    with pytest.raises(error, match=said):
        import_model(Workspace.at(tmp_path / "workspace"), package)
    assert not (tmp_path / "workspace").exists()


def test_what_cannot_be_packed_is_refused_and_leaves_nothing(
    origin: tuple[Workspace, str], tmp_path: Path
) -> None:
    room, made = origin[0], trained(origin[0], mix_out__weight=1e5)
    with pytest.raises(PackageError, match=r"mix_out.weight reaches 1e\+05, which float16"):
        export_model(room, made, tmp_path / "out" / "package")
    assert list((tmp_path / "out").iterdir()) == []
    (tmp_path / "out" / "note").touch()
    with pytest.raises(PackageError, match="not empty; name a new folder"):
        export_model(room, made, tmp_path / "out")
