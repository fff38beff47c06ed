"""Runs on networks that are cut off and go on: ensembles in train, and a Probe in simulate."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sgdmodels as sm
from sgdmodels.errors import InvalidArgument
from sgdmodels.networks import Accuracy, Probe, losses, train

from .test_networks_train import ENSEMBLE, RUN, made
from .test_resume import Killed, cut_off, same

simulate_module = import_module("sgdmodels.simulate")


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulate_module, "CHUNK_SECONDS", 0.0)


def test_an_ensemble_may_be_made_longer(tmp_path: Path) -> None:
    """300 steps with a record of their own at the end, then 700: as 700 at once."""
    file = tmp_path / "run.npz"
    whole = train(made().net, made(), ENSEMBLE, **RUN)
    train(made().net, made(), ENSEMBLE, checkpoint=file, **{**RUN, "steps": 310})
    longer = train(made().net, made(), ENSEMBLE, resume=file, **RUN)
    same(longer, whole)
    with pytest.raises(InvalidArgument, match="steps must be at least 640"):
        train(made().net, made(), ENSEMBLE, resume=file, **{**RUN, "steps": 630})
    with pytest.raises(InvalidArgument, match=r"another run \(its runs\[0\].seed is 11, here 12\)"):
        train(made().net, made(), ENSEMBLE, resume=file, **{**RUN, "seed": 12})
    with pytest.raises(
        InvalidArgument, match=r"another run \(its runs\[0\].steps is 700, here 900\); pass it as resume"
    ):
        train(made().net, made(), ENSEMBLE, checkpoint=file, **{**RUN, "steps": 900})


@pytest.mark.parametrize(
    "dynamics",
    [sm.SGD(0.1, 4, momentum=0.9), sm.NoisyGD(0.1, 4, refresh=30), sm.CentralFlow(0.1, stride=50)],
    ids=lambda d: type(d).__name__,
)
def test_simulate_takes_up_runs_on_a_probe(
    dynamics: sm.Dynamics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where steps are taken outside torch, by several workers that each keep eigenvectors of their replicas."""
    probe = made(sizes=(6, 2, 1))
    common: dict[str, Any] = {
        "init": probe.parameters(), "replicas": [4, 0, 2, 1, 7], "record_every": 20, "metrics": ("loss", "lambda_max"),
    }  # fmt: skip
    whole = sm.simulate(probe, dynamics, 300, threads=2, **common)
    kept = {"steps": 300, "checkpoint": tmp_path / "run.npz", "checkpoint_seconds": 0.0, **common}
    cut_off(monkeypatch, 2, Killed, probe, dynamics, threads=2, **kept)
    cut_off(monkeypatch, 1, KeyboardInterrupt, probe, dynamics, threads=1, **kept)
    same(sm.simulate(probe, dynamics, threads=2, **kept), whole)


def test_the_accuracy_of_a_probe_is_part_of_the_run(tmp_path: Path) -> None:
    probe = made()
    finer = Probe(probe.net, losses.squared_error, probe.inputs, probe.targets, accuracy=Accuracy(subset=5))
    options: dict[str, Any] = {"init": probe.parameters(), "metrics": ("loss",), "checkpoint": tmp_path / "run.npz"}
    for dynamics in (sm.SGD(0.1, 4), sm.CentralFlow(0.1)):
        (tmp_path / "run.npz").unlink(missing_ok=True)
        sm.simulate(probe, dynamics, 64, **options)
        with pytest.raises(InvalidArgument, match=r"another run \(its accuracy.subset is None, here 5\)"):
            sm.simulate(finer, dynamics, 64, **options)


def test_after_ctrl_c_the_network_is_where_the_records_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also without a file, and when the chunk that was broken off had found a divergence."""
    for checkpoint in (None, tmp_path / "run.npz"):
        probe, calls = made(), list[int]()

        def pressed(points: Any, calls: list[int] = calls) -> np.ndarray:
            calls.append(1)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return np.zeros(points.shape)

        metrics = ("loss", sm.Metric("pressed", "when Ctrl-C comes", "1", pressed))
        step_sizes = [(0, 0.1), (130, 1e6)]
        run = train(
            probe.net, probe, sm.SGD(step_sizes, 4), steps=6400, record_every=16, metrics=metrics, keep_params=True,
            checkpoint=checkpoint,
        )  # fmt: skip
        assert run.attrs["interrupted"] == 1
        assert run.step.values[-1] == 128
        assert run.diverged_at.isnull().all()
        np.testing.assert_array_equal(probe.parameters(), run.params[0, -1])
