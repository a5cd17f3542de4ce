"""The cache: equal content is read once, and no state of the cache folder makes loading fail."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fer2013_files import FACES, course, encoded, images, kaggle, same

from minicnn.data import cache as cached
from minicnn.data import csv_format, folder_format
from minicnn.data.dataset import FER_CLASSES
from minicnn.data.fer2013 import load_fer2013


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def readers(monkeypatch):
    """The paths that were really read, not taken from the cache."""
    read = []
    for module, name in ((csv_format, "read_csv"), (csv_format, "read_course"), (folder_format, "read_folder")):
        reader = getattr(module, name)
        monkeypatch.setattr(module, name, lambda path, bad, reader=reader: read.append(path) or reader(path, bad))
    return read


@pytest.mark.parametrize("write", [kaggle(), course(), images()], ids=["file", "tables", "folder"])
def test_equal_content_is_read_once(write, tmp_path, readers):
    (tmp_path / "data").mkdir()
    path = write(tmp_path / "data", FACES)
    for options in ({}, {}, {"split": "Training"}, {"cache": False}):
        got = load_fer2013(path, **options)
        assert got.class_names == FER_CLASSES
    assert readers == [path, path]  # the first and the last


def test_ids_are_kept(tmp_path, readers):
    path = course()(tmp_path, FACES) / "test.csv"
    for _ in range(2):
        assert load_fer2013(path).ids.tolist() == [str(i) for i in range(100, 107)]
    assert readers == [path]
    both = load_fer2013(tmp_path)
    assert both.ids.tolist() == [""] * 14 + [str(i) for i in range(100, 107)]
    assert load_fer2013(tmp_path, "PublicTest").ids[-1] == "106"
    assert load_fer2013(path.with_name("train.csv")).ids is None


def test_the_cache_goes_by_content_not_by_name(tmp_path, readers):
    path = kaggle()(tmp_path, FACES)
    load_fer2013(path)
    moved = path.rename(tmp_path / "moved.csv")
    same(load_fer2013(moved), FACES)
    assert readers == [path]
    status = moved.stat()
    moved.write_bytes(moved.read_bytes().replace(b"\n3,", b"\n4,", 1))
    os.utime(moved, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert load_fer2013(moved).labels[3] == 4
    assert readers == [path, moved]


def test_a_changed_image_is_seen(tmp_path, readers):
    (tmp_path / "data").mkdir()
    path = images()(tmp_path / "data", FACES)
    load_fer2013(path)
    image = next(path.rglob("Training_00000000.png"))
    image.write_bytes(encoded(FACES.images[0] ^ 1))
    os.utime(image, ns=(0, 12345))
    assert (FACES.images[0] ^ 1).tobytes() in {x.tobytes() for x in load_fer2013(path).images}
    image.unlink()
    assert len(load_fer2013(path)) == 20
    assert len(readers) == 3


def damage_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        damage_bit,
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"rubbish" * 100),
        Path.unlink,
        lambda path: (path.unlink(), path.parent.rmdir()),
    ],
    ids=["a bit", "truncated", "empty", "rubbish", "deleted", "folder deleted"],
)
def test_a_damaged_entry_is_built_again(damage, tmp_path, readers):
    path = kaggle()(tmp_path, FACES)
    load_fer2013(path)
    (entry,) = (tmp_path / "cache").iterdir()
    whole = entry.read_bytes()
    damage(entry)
    got = load_fer2013(path)
    same(got, FACES)
    assert got.notes == ()
    assert len(readers) == 2
    assert len(entry.read_bytes()) == len(whole)
    same(load_fer2013(path), FACES)
    assert len(readers) == 2


def test_a_cache_that_cannot_be_written_is_only_noted(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path / "file" / "cache"))
    got = load_fer2013(kaggle()(tmp_path, FACES))
    same(got, FACES)
    assert len(got.notes) == 1
    assert got.notes[0].startswith("not cached: the cache folder cannot be written (")
    assert str(tmp_path) not in got.notes[0]


def test_no_home_is_no_cache(tmp_path, monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    for name in ("MINICNN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert "home directory" in load_fer2013(kaggle()(tmp_path, FACES)).notes[0]


@pytest.mark.parametrize(
    ("variables", "where"),
    [
        ({"MINICNN_CACHE": "a", "XDG_CACHE_HOME": "b", "HOME": "c"}, "a"),
        ({"XDG_CACHE_HOME": "b", "HOME": "c"}, "b/minicnn"),
        ({"HOME": "c"}, "c/.cache/minicnn"),
    ],
)
def test_where_the_cache_lies(variables, where, tmp_path, monkeypatch):
    for name in ("MINICNN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, str(tmp_path / value))
    load_fer2013(kaggle()(tmp_path, FACES))
    assert [path.suffix for path in (tmp_path / where).iterdir()] == [".npz"]


def test_another_version_of_the_readers_does_not_meet_old_entries(tmp_path, readers, monkeypatch):
    path = kaggle()(tmp_path, FACES)
    load_fer2013(path)
    monkeypatch.setattr(cached, "VERSION", cached.VERSION + 1)
    load_fer2013(path)
    assert len(readers) == 2


def test_the_hash_covers_every_chunk_and_the_names(tmp_path, monkeypatch):
    monkeypatch.setattr(cached, "CHUNK", 10)
    keys = set()
    for data in (b"a" * 35, b"b" + b"a" * 34, b"a" * 34 + b"b", b"a" * 34, b"a" * 36, b"a" * 15 + b"b" + b"a" * 19):
        (tmp_path / "x").write_bytes(data)
        keys.add(cached.content_key({"": tmp_path / "x"}))
    keys.add(cached.content_key({"train.csv": tmp_path / "x"}))
    assert len(keys) == 7


def test_several_may_write_the_same_entry_at_once(tmp_path):
    path = kaggle()(tmp_path, FACES)
    with ThreadPoolExecutor(4) as pool:
        for got in pool.map(load_fer2013, [path] * 8):
            same(got, FACES)
            assert got.notes == ()
    assert [entry.suffix for entry in (tmp_path / "cache").iterdir()] == [".npz"]
