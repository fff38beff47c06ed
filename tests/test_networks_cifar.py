"""CIFAR-10 in every version it is found in, and files that would do harm if they were unpickled."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sgdmodels.errors import InvalidArgument
from sgdmodels.networks.data.cifar import PIXELS, cifar10


def images_and_labels(seed: int, n: int = 3) -> tuple[np.ndarray, list[int]]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, PIXELS)).astype(np.uint8), rng.integers(0, 10, n).tolist()


def python2_batch(images: np.ndarray, labels: list[int]) -> bytes:
    """A batch as Python 2 and numpy 1 wrote it, protocol 2: the format of the published files, opcode by opcode."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value  # SHORT_BINSTRING

    def number(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)  # BININT

    dtype = b"cnumpy\ndtype\n" + text(b"u1") + number(0) + number(1) + b"\x87R"
    dtype += b"(" + number(3) + text(b"|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + number(0) + b"\x85" + text(b"b") + b"\x87R"
    raw = b"T" + struct.pack("<i", images.size) + images.tobytes()  # BINSTRING
    array += b"(" + number(1) + number(len(images)) + number(PIXELS) + b"\x86" + dtype + b"\x89" + raw + b"tb"
    listed = b"](" + b"".join(map(number, labels)) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(b"labels") + listed + b"u."


def batch(version: str, images: np.ndarray, labels: list[int]) -> bytes:
    if version == "python 2":
        return python2_batch(images, labels)
    if version == "binary":
        return np.column_stack([np.array(labels, np.uint8), images]).tobytes()
    content = {b"batch_label": b"x", b"labels": labels, b"data": images, b"filenames": [b"a.png"] * len(labels)}
    return pickle.dumps(content, protocol=int(version[-1]))


def write(folder: Path, version: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate([*(f"data_batch_{j}" for j in range(1, 6)), "test_batch"]):
        (folder / (name + ".bin" * (version == "binary"))).write_bytes(batch(version, *images_and_labels(i)))


@pytest.mark.parametrize("version", ["python 2", "protocol 2", "protocol 3", "protocol 4", "binary"])
@pytest.mark.parametrize("nested", [False, True])
def test_cifar10(tmp_path: Path, version: str, nested: bool) -> None:
    write(tmp_path / (("cifar-10-batches-" + ("bin" if version == "binary" else "py")) * nested), version)
    train, test = cifar10(tmp_path), cifar10(tmp_path, split="test")
    expected = np.concatenate([images_and_labels(i)[0] for i in range(5)]).reshape(15, 3, 32, 32)
    np.testing.assert_array_equal(train.inputs, expected.astype(np.float32) / np.float32(255))
    assert train.labels.tolist() == np.concatenate([images_and_labels(i)[1] for i in range(5)]).tolist()
    assert test.labels.tolist() == images_and_labels(5)[1]
    assert train.classes == 10


def test_column_major_arrays_keep_their_pixels(tmp_path: Path) -> None:
    write(tmp_path, "protocol 2")
    images, labels = images_and_labels(9)
    (tmp_path / "test_batch").write_bytes(batch("protocol 2", np.asfortranarray(images), labels))
    np.testing.assert_array_equal(np.round(cifar10(tmp_path, split="test").inputs * 255).reshape(3, -1), images)


class Touch:
    """Unpickled by pickle itself, creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def reduced(module: str, name: str) -> bytes:
    """A pickle that calls module.name("code")."""
    return f"c{module}\n{name}\n(S'code'\ntR.".encode()


def test_hostile_pickles_are_refused_and_not_run(tmp_path: Path) -> None:
    (tmp_path / "probe").mkdir()
    mark = tmp_path / "probe" / "mark"
    hostile = pickle.dumps(Touch(mark))
    pickle.loads(hostile)
    assert mark.exists()  # it does run where nothing stops it
    mark.unlink()
    (tmp_path / "test_batch").write_bytes(hostile)
    with pytest.raises(InvalidArgument, match=r"was refused: it asks for .*do not trust it"):
        cifar10(tmp_path, split="test")
    assert not mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        reduced("builtins", "eval"),
        reduced("os", "system"),
        reduced("numpy", "load"),
        reduced("numpy.core.multiarray", "fromfile"),
        reduced("_codecs", "lookup"),
        b"\x80\x04\x8c\x05numpy\x8c\x0fdtype.__class__\x93.",  # STACK_GLOBAL with a dotted name
    ],
)
def test_every_other_name_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "test_batch").write_bytes(content)
    with pytest.raises(InvalidArgument, match="was refused"):
        cifar10(tmp_path, split="test")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        pickle.dumps([1, 2]),
        pickle.dumps({b"labels": [1]}),
        pickle.dumps({b"data": np.zeros((1, PIXELS)), b"labels": [1]}, protocol=2),  # float64
        pickle.dumps({b"data": np.zeros((1, 100), np.uint8), b"labels": [1]}, protocol=2),
        pickle.dumps({b"data": np.zeros((1, PIXELS), np.uint8), b"labels": ["cat"]}, protocol=2),
        pickle.dumps({b"data": np.zeros((1, PIXELS), np.uint8), b"fine_labels": [1]}, protocol=2),  # CIFAR-100
        pickle.dumps({b"data": np.zeros((1, PIXELS), np.uint8), b"labels": [1]}, protocol=2)[:-40],
    ],
)
def test_damaged_batches_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "test_batch").write_bytes(content)
    with pytest.raises(InvalidArgument, match="test_batch is not a CIFAR-10 batch"):
        cifar10(tmp_path, split="test")


def test_cifar10_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="holds no data_batch_1"):
        cifar10(tmp_path)
    write(tmp_path / "cifar-10-batches-py", "protocol 2")
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(InvalidArgument, match="lacks data_batch_3"):
        cifar10(tmp_path)
    with pytest.raises(InvalidArgument, match="split"):
        cifar10(tmp_path, split="validation")


@pytest.mark.parametrize("size", [0, PIXELS, PIXELS + 2])
def test_binary_batches_of_a_wrong_size(tmp_path: Path, size: int) -> None:
    (tmp_path / "test_batch.bin").write_bytes(bytes(size))
    with pytest.raises(InvalidArgument, match=f"its {size} bytes"):
        cifar10(tmp_path, split="test")
