"""CIFAR-10 from a local folder, in its Python or its binary version, without executing what is in the files.

The Python version consists of pickles, and unpickling runs whatever a file names. Here every name that a file asks
for is looked up among four inert stand-ins, which only record an array's shape, type and bytes; numpy and the rest
of Python are out of the file's reach.

Source: A. Krizhevsky, Learning multiple layers of features from tiny images, 2009.
"""

from __future__ import annotations

import io
import pickle
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...arguments import one_of
from ...errors import InvalidArgument
from .images import ImageData

PYTHON_FOLDER, BINARY_FOLDER = "cifar-10-batches-py", "cifar-10-batches-bin"
FILES = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}
PIXELS = 3 * 32 * 32
# The scaling of the published code, ImageData.standardised(*PUBLISHED_SCALING): its deviations are means over images
# of each image's own, about a fifth below those of all pixels together.
PUBLISHED_SCALING = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))

Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]


class _RecordedType:
    """Stands in for numpy.dtype."""

    def __init__(self, code: str | bytes, *_: object) -> None:
        self.code = code.decode("ascii") if isinstance(code, bytes) else code

    def __setstate__(self, state: object) -> None:
        """Byte order and the like, which single bytes do not have."""


class _RecordedArray:
    """Stands in for what numpy pickles an array with."""

    def __init__(self, *_: object) -> None:
        self.state: Any = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def bytes_of(self) -> NDArray[np.uint8]:
        """The recorded array, if it is one of unsigned bytes."""
        _, shape, kind, column_major, raw = self.state
        if kind.code not in ("u1", "|u1"):
            raise ValueError(f"an array of type {kind.code} instead of unsigned bytes")
        return np.frombuffer(raw, np.uint8).reshape(shape, order="F" if column_major else "C")


class _InertUnpickler(pickle.Unpickler):
    """Knows the names that pickled arrays use, each by a stand-in made for this one file."""

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="bytes")
        self.known = {("numpy", "dtype"): _RecordedType, ("numpy", "ndarray"): "ndarray"}
        for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            self.known[module, "_reconstruct"] = _RecordedArray
        self.known["_codecs", "encode"] = lambda text, encoding: text.encode("latin1")  # how Python 3 writes old bytes

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for `module.name`, or a refusal."""
        if (module, name) not in self.known:
            raise InvalidArgument(f"it asks for {module}.{name}, which arrays of images do not need: do not trust it")
        return self.known[module, name]


def _python_batch(file: Path) -> Batch:
    """Images (n, 3, 32, 32) and labels of one pickled batch."""
    try:
        content = _InertUnpickler(file.read_bytes()).load()
        batch = {key.decode() if isinstance(key, bytes) else key: value for key, value in content.items()}
        images, labels = batch["data"].bytes_of(), np.array(batch["labels"])
        if labels.dtype.kind != "i":
            raise ValueError("labels that are not integers")
        return images.reshape(-1, 3, 32, 32), labels.astype(np.int64)
    except InvalidArgument as refusal:
        raise InvalidArgument(f"{file} was refused: {refusal}") from None
    except Exception as problem:  # a damaged or hostile pickle can raise anything
        raise InvalidArgument(f"{file} is not a CIFAR-10 batch: {type(problem).__name__}: {problem}") from None


def _binary_batch(file: Path) -> Batch:
    """Images (n, 3, 32, 32) and labels of one binary batch: per image a byte of label and 3072 of pixels."""
    content = np.frombuffer(file.read_bytes(), np.uint8)
    if content.size == 0 or content.size % (PIXELS + 1):
        raise InvalidArgument(
            f"{file} is not a CIFAR-10 batch: its {content.size} bytes are no positive multiple of {PIXELS + 1}"
        )
    rows = content.reshape(-1, PIXELS + 1)
    return rows[:, 1:].reshape(-1, 3, 32, 32), rows[:, 0].astype(np.int64)


def _files(folder: Path, split: str) -> list[Path]:
    """The batch files of `split` in `folder` or in the folder of an unpacked archive below it."""
    for below, suffix in (("", ""), (PYTHON_FOLDER, ""), ("", ".bin"), (BINARY_FOLDER, ".bin")):
        files = [folder / below / (name + suffix) for name in FILES[split]]
        found = [file for file in files if file.is_file()]
        if found and len(found) < len(files):
            missing = ", ".join(file.name for file in files if file not in found)
            raise InvalidArgument(f"{folder / below} lacks {missing}; unpack the whole archive")
        if found:
            return files
    raise InvalidArgument(
        f"{folder} holds no {FILES[split][0]} or {FILES[split][0]}.bin, nor does a folder {PYTHON_FOLDER} or "
        f"{BINARY_FOLDER} in it; give the folder where CIFAR-10 was unpacked"
    )


def cifar10(folder: str | PathLike[str], *, split: str = "train") -> ImageData:
    """CIFAR-10, (50000, 3, 32, 32) for split="train" and 10000 for "test", pixels divided by 255.

    `folder` is the one with the batches, or the one above it (torchvision's root). The whole training set takes 0.6
    GB. Raises InvalidArgument: missing, damaged or hostile files.
    """
    one_of("split", split, FILES)
    files = _files(Path(folder), split)
    batches = [_binary_batch(file) if file.suffix else _python_batch(file) for file in files]
    images = np.concatenate([images for images, _ in batches]).astype(np.float32)
    images /= 255
    return ImageData(images, np.concatenate([labels for _, labels in batches]), 10, f"cifar10 {split}")
