"""Samples behind a DataLoader, read without touching its iterators and the random state that they use."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ...arguments import integer
from ...errors import InvalidArgument


def loader_samples(loader: DataLoader[Any], samples: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Inputs and targets of `samples` samples of the loader's dataset, drawn without replacement; all if it has fewer.

    The dataset is indexed and its samples are put together by the loader's own `collate_fn`. Random augmentations give
    one draw of each sample; torch's and Python's random states are put back. Raises InvalidArgument for datasets that
    can only be iterated, and samples that are no pairs (inputs, targets).

    >>> pairs = torch.utils.data.TensorDataset(torch.arange(3.0)[:, None], torch.arange(3))
    >>> x, y = loader_samples(DataLoader(pairs, batch_size=2), 2048)
    >>> x.ravel().tolist(), y.tolist()
    ([0.0, 1.0, 2.0], [0, 1, 2])
    """
    if not isinstance(loader, DataLoader):
        raise InvalidArgument(
            f"loader must be a torch DataLoader, got {type(loader).__name__}; use Monitor(Probe(...))"
        )
    dataset: Any = loader.dataset
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise InvalidArgument(
            f"the loader's dataset ({type(dataset).__name__}) can only be iterated; collect samples as tensors and use "
            "Monitor(Probe(net, loss, inputs, targets))"
        )
    wanted = min(integer("samples", samples, 1), len(dataset))
    chosen = np.sort(np.random.default_rng(integer("seed", seed, 0)).permutation(len(dataset))[:wanted])
    state = random.getstate()
    try:
        with torch.random.fork_rng(devices=[]):
            items = [dataset[int(i)] for i in chosen]
            batch = loader.collate_fn(items) if loader.collate_fn is not None else None
    finally:
        random.setstate(state)
    if not isinstance(batch, Sequence) or len(batch) != 2 or not all(isinstance(x, Tensor) for x in batch):
        raise InvalidArgument(
            f"the loader's batches must be pairs of tensors (inputs, targets), got {type(batch).__name__}; use "
            "Monitor(Probe(net, loss, inputs, targets))"
        )
    return batch[0], batch[1]


def batch_size_of(loader: Any) -> int | None:
    """The batch size that a loader was made with; None for one that has none."""
    size = getattr(loader, "batch_size", None) or getattr(getattr(loader, "batch_sampler", None), "batch_size", None)
    return None if size is None else int(size)


def samples_in(batch: Any) -> int | None:
    """Length of the first tensor in a batch of any nesting; None if there is none."""
    if isinstance(batch, Tensor):
        return len(batch) if batch.ndim else None
    inside = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, Sequence) else ()
    lengths = (None if isinstance(piece, str) else samples_in(piece) for piece in inside)
    return next((n for n in lengths if n is not None), None)
