"""What to cite: BibTeX of the package and of the papers behind what a run or a score card used."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from .arguments import one_of
from .declarations import ROWS, example
from .errors import InvalidArgument
from .metrics import METRICS
from .predictions import PREDICTIONS
from .scorecard import ScoreCard
from .theory import CRITERIA
from .version import __version__

if TYPE_CHECKING:
    import xarray as xr

ALWAYS = ("sgdmodels", "andreyev2024edge")
# Where a source is not a field of the object itself.
SOURCES = {
    "batch_sharpness": "Andreyev and Beneventano 2024",
    "batch_sharpness_by_batches": "Andreyev and Beneventano 2024",
    "batch_sharpness_mean_ratio": "Andreyev and Beneventano 2024",
    "gni": "Andreyev and Beneventano 2024",
    "ias": "Lee and Jang 2023",
    "lambda_max": "Cohen et al. 2021",
    "mean_square_sharpness": "Mulayoff and Michaeli 2024",
    "minibatch_lambda_max": "Andreyev and Beneventano 2024",
}


def citations(used: xr.Dataset | ScoreCard | str | Iterable[Any]) -> str:
    """BibTeX of what `used` rests on: the package, the Edge of Stochastic Stability, and the sources of the rest.

    used: a Dataset of `simulate`, `measure`, `train`, `fork` or a sweep, a `ScoreCard`, a name of a dynamics ("SVAG"),
    a metric ("ias"), a prediction ("B9") or a criterion ("monotone_bound"), or several of these. What you wrote
    yourself is left out. Raises InvalidArgument, and UnknownName for a name that is none of these.

    >>> [line for line in citations(["SVAG", "ias"]).splitlines() if line.startswith("@")]
    ['@misc{sgdmodels,', '@misc{andreyev2024edge,', '@inproceedings{lee2023new,', '@inproceedings{li2021validity,']
    """
    texts, versions = [], set()
    for name, version in names_of(used):
        texts.append(references()[name])
        versions |= version
    keys = {key for text in texts for key in keys_of(text)}
    entries = bibliography()
    chosen = [entries[key] for key in (*ALWAYS, *sorted(keys - set(ALWAYS)))]
    return "\n\n".join(chosen).replace("VERSION", ", ".join(sorted(versions)) or __version__) + "\n"


@cache
def references() -> dict[str, str]:
    """The reference text of everything that has a name, "" where it needs none."""
    texts = dict.fromkeys((metric.name for metric in METRICS), "")
    texts |= {criterion.name: criterion.reference for criterion in CRITERIA}
    texts |= {kind.__name__: example(kind, arguments).declaration.reference for kind, arguments in ROWS}
    texts |= {prediction.name: prediction.reference for prediction in PREDICTIONS}
    for name, source in SOURCES.items():
        texts[name] = "; ".join(filter(None, (texts.get(name, ""), source)))
    return texts


def names_of(used: Any) -> Iterator[tuple[str, set[str]]]:
    """Known names in `used`, each with the versions of the package that made it, if it is a run."""
    if isinstance(used, str):
        yield one_of("name", used, tuple(references())), set()
    elif isinstance(used, ScoreCard):
        yield from ((prediction.name, set()) for prediction in used.predictions if prediction.name in references())
        for evidence in used.evidence.values():
            for run in evidence.runs.values():
                yield from names_of(run)
    elif hasattr(used, "data_vars"):
        version = {str(used.attrs["sgdmodels_version"])} if "sgdmodels_version" in used.attrs else set()
        described = [json.loads(used.attrs[name]) for name in ("dynamics", "metrics", "spec") if name in used.attrs]
        words = {str(name).removeprefix("gauss_newton_") for name in used.data_vars} | set(strings(described))
        yield from ((name, version) for name in sorted(words & references().keys()))
    elif isinstance(used, Iterable):
        for one in used:
            yield from names_of(one)
    else:
        raise InvalidArgument(f"used must be a Dataset, a ScoreCard or names such as 'SVAG', got {used!r}")


def strings(described: Any) -> Iterator[str]:
    """All texts in what JSON describes; of an import path its last name."""
    if isinstance(described, str):
        yield described.rpartition(".")[2]
    elif isinstance(described, dict):
        for value in described.values():
            yield from strings(value)
    elif isinstance(described, list):
        for value in described:
            yield from strings(value)


@cache
def bibliography() -> dict[str, str]:
    """The entries of references.bib by key."""
    text = files(__package__).joinpath("references.bib").read_text(encoding="utf-8")
    entries = [entry.strip() for entry in re.split(r"\n(?=@)", text)]
    return {re.split(r"[{,]", entry)[1]: entry for entry in entries}


@cache
def keys_of(text: str) -> tuple[str, ...]:
    """Keys of the entries that a reference text names, as "Li, Tai and E 2017" or "Li et al. 2017".

    >>> keys_of("Damian, Nichani and Lee 2023; Liao et al. 2026 (the noise)")
    ('damian2023self', 'liao2026sgd')
    """
    return tuple(key for key, entry in bibliography().items() if any(form in text for form in forms(entry)))


def forms(entry: str) -> tuple[str, ...]:
    """How texts refer to an entry."""
    (authors,) = re.findall(r"author = \{(.*)\},\n", entry)
    (year,) = re.findall(r"year = \{(\d{4})\}", entry)
    families = [author.split(",")[0] for author in authors.split(" and ")]
    whole = f"{', '.join(families[:-1])} and {families[-1]} {year}" if len(families) > 1 else f"{families[0]} {year}"
    return (whole, f"{families[0]} et al. {year}") if len(families) > 2 else (whole,)
