"""A training run over time: every column against brute force over all minibatches, closed forms,
or `diagnose` of the same checkpoint."""

import dataclasses
import importlib
import itertools

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from calls.small import regression, squared
from statistical import assert_close

import levysde as ls
from levysde.networks import example_blocks as programs, track

DECAY, BATCH, DELTA = 0.1, 2, 1e-3
CHECKPOINTS = [np.zeros(2), np.array([1.0, -2.0]), np.array([0.3, 0.1])]
QUICK = {"batch_size": BATCH, "weight_decay": DECAY, "num_batches": 400}


def exact(x: np.ndarray) -> dict[str, np.ndarray]:
    """Gradient and Hessian of every minibatch of two of the eight examples, in float64."""
    features, targets = regression()
    batches = [list(pair) for pair in itertools.combinations(range(8), BATCH)]
    rows, y = features[batches], targets[batches]
    residual = rows @ x - y
    return {
        "index": np.array(batches),
        "gradients": (rows * residual[..., None]).mean(1) + DECAY * x,
        "hessians": np.einsum("kbi,kbj->kij", rows, rows) / BATCH + DECAY * np.eye(2),
        "hessian": features.T @ features / 8 + DECAY * np.eye(2),
    }


def curved(gradients: np.ndarray, hessians: np.ndarray) -> np.ndarray:
    return np.einsum("ki,kij,kj->k", gradients, hessians, gradients)


@pytest.fixture(scope="module")
def found() -> ls.networks.Track:
    return track(
        squared,
        CHECKPOINTS,
        regression(),
        iterations=[0, 50, 700],
        learning_rate=0.1,
        delta=DELTA,
        basin_height=10.0,
        **QUICK | {"num_batches": 2000},
    )


@pytest.mark.parametrize("k", range(3))
def test_sharpness_of_a_regression(found, k):
    all_batches = exact(CHECKPOINTS[k])
    g, h = all_batches["gradients"], all_batches["hessian"]
    assert found.sharpness[k] == pytest.approx(np.linalg.eigvalsh(h)[-1], rel=1e-6)
    # at rest, ADAM's v is the mean square of the gradients of all minibatches
    root = 1 / np.sqrt(np.sqrt((g**2).mean(0)) + DELTA)
    preconditioned = np.linalg.eigvalsh(root[:, None] * h * root)[-1]
    assert found.preconditioned_sharpness[k] == pytest.approx(preconditioned, rel=1e-5)
    measured = found.batch_sharpness[k]
    expected = curved(g, all_batches["hessians"]).mean() / (g**2).sum(1).mean()
    error = (measured.high - measured.low) / 2 / 1.96
    assert_close(measured.value, error, expected, 0.1, "batch sharpness")


def test_curvature_of_each_minibatch():
    network = ls.from_network(squared, CHECKPOINTS[1], *regression(), weight_decay=DECAY)
    every = exact(CHECKPOINTS[1])
    g = every["gradients"]
    values = eqx.filter_jit(programs.batch_curvature)(
        network, network.minimum, jnp.asarray(every["index"])
    )
    expected = np.stack([curved(g, every["hessians"]), (g**2).sum(1)], 1)
    np.testing.assert_allclose(values, expected, rtol=1e-5)


def test_the_preconditioned_sharpness_leaves_out_what_has_no_noise():
    features, targets = regression()
    dark = np.column_stack([features, np.zeros(8)])
    start = np.append(CHECKPOINTS[1], 0.5)
    found = track(squared, [start], (dark, targets), delta=DELTA, **QUICK)
    whole = track(squared, [CHECKPOINTS[1]], regression(), delta=DELTA, **QUICK)
    assert found.preconditioned_sharpness[0] == pytest.approx(
        whole.preconditioned_sharpness[0], rel=1e-6
    )
    assert any("1 of 3 coordinates have no gradient noise" in text for text in found.warnings)
    assert not any("no gradient noise" in text for text in whole.warnings)


def same_row(found: ls.networks.Track, k: int, report: ls.Diagnosis) -> None:
    assert found.loss[k] == report.loss
    assert found.sharpness[k] == report.hessian.largest[0]
    assert found.tail_index[k] == report.tails.characteristic_function.median
    if found.optimizer in report.predictions:
        assert found.escape[k] == report.predictions[found.optimizer].mean
    else:
        assert np.isnan(found.escape[k].value)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", optax.sgd(0.1), optax.rmsprop(0.1)])
def test_each_row_is_the_diagnosis_of_its_checkpoint(optimizer):
    rate = {"learning_rate": 0.1} if isinstance(optimizer, str) else {}
    given = QUICK | {"optimizer": optimizer, "basin_height": 0.5, "seed": 3, **rate}
    found = track(squared, CHECKPOINTS, regression(), **given)
    for k, params in enumerate(CHECKPOINTS):
        report = ls.diagnose(squared, params, regression(), num_escapes=0, **given)
        same_row(found, k, report)
    # the first is near its minimum, the second is not
    named = optimizer if isinstance(optimizer, str) else found.optimizer
    assert np.isfinite(found.escape[2].value) == (named != "optax")
    assert np.isnan(found.escape[1].value)


@pytest.mark.slow
@pytest.mark.parametrize("rate", [None, 0.05])
def test_rows_of_a_model_without_dense_matrices(rate):
    """300 parameters, where eigenvalues are those of Lanczos and in float32."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 300)) * np.geomspace(1, 0.05, 300)
    data = rows, rows @ rng.normal(size=300) + rng.normal(size=60)
    given = QUICK | {"learning_rate": rate, "batch_size": 10}
    net = ls.from_network(squared, np.zeros(300), *data, weight_decay=DECAY)
    near = ls.networks.refine(net, np.zeros(300)).point
    found = track(squared, [np.zeros(300), near], data, **given)
    for k, params in enumerate((np.zeros(300), near)):
        same_row(found, k, ls.diagnose(squared, params, data, num_escapes=0, **given))
    h = rows.T @ rows / 60 + DECAY * np.eye(300)
    np.testing.assert_allclose(found.sharpness, np.linalg.eigvalsh(h)[-1], rtol=1e-4)
    residual = rows @ near - data[1]
    gradients = rows * residual[:, None]
    squares = gradients.var(0) / 10 * 50 / 59 + (gradients.mean(0) + DECAY * near) ** 2
    root = 1 / np.sqrt(np.sqrt(squares) + 1e-8)
    exact = np.linalg.eigvalsh(root[:, None] * h * root)[-1]
    assert found.preconditioned_sharpness[1] == pytest.approx(exact, rel=1e-3)


def apart(params, row):
    return jnp.sum((params - row) ** 2) / 2


@pytest.mark.parametrize(
    ("draw", "name"),
    [
        (lambda rng: rng.normal(size=(3000, 3)), "Gaussian"),
        (lambda rng: rng.standard_cauchy(size=(3000, 3)), "stable"),
        (lambda rng: rng.integers(0, 2, size=(3000, 3)), "not continuous"),
    ],
)
def test_the_class_is_that_of_the_noise(draw, name):
    """The mean of two draws of a stable law has that law."""
    points = np.asarray(draw(np.random.default_rng(0)), float)
    found = track(apart, [np.zeros(3)], points, batch_size=2, num_batches=2000)
    assert found.noise == (name,)


def test_all_checkpoints_share_one_compilation():
    def traces(count: int) -> int:
        seen = []

        def loss(params, features, target):
            seen.append(0)
            return squared(params["w"], features, target)

        saved = [{"w": CHECKPOINTS[k % 3] + 0.01 * k} for k in range(count)]
        track(loss, saved, regression(), learning_rate=0.1, basin_height=10.0, **QUICK)
        return len(seen)

    assert traces(1) == traces(4)


def test_a_checkpoint_that_fails_loses_nothing_else(found):
    saved = [CHECKPOINTS[0], np.full(2, 1e30), CHECKPOINTS[2]]
    given = QUICK | {"learning_rate": 0.1, "delta": DELTA, "basin_height": 10.0}
    broken = track(squared, saved, regression(), iterations=[0, 50, 700], **given)
    assert np.isnan(broken.loss[1])
    assert broken.noise[1] == ""
    assert np.isnan(broken.escape[1].value)
    assert np.isfinite(broken.escape[2].value)
    np.testing.assert_array_equal(broken.sharpness[[0, 2]], found.sharpness[[0, 2]])
    assert any(
        text.startswith("at iteration 50 not everything was measured: ValueError: the loss")
        for text in broken.warnings
    )
    with pytest.raises(ValueError, match="not finite"):
        track(squared, saved[1:2], regression(), **given)


def test_what_was_measured_before_a_failure_is_kept():
    """Where all examples have one gradient there is curvature, and no noise."""

    def loss(params, row):
        return jnp.sum(params**2) + jnp.where(params[0] > 0, params[0] * row[0], 0.0)

    points = np.random.default_rng(0).normal(size=(20, 1))
    found = track(loss, [np.array([-1.0]), np.array([1.0])], points, **QUICK | {"batch_size": 5})
    np.testing.assert_allclose(found.sharpness, 2 + DECAY, rtol=1e-6)
    assert found.batch_sharpness[0].value == pytest.approx(2 + DECAY, rel=1e-6)
    assert found.noise[0] == ""
    assert np.isnan(found.tail_index[0].value)
    assert np.isfinite(found.preconditioned_sharpness[1])
    assert "iteration 0 not everything was measured" in found.warnings[0]


def test_no_escape_time_says_why():
    def of(**given):
        return " ".join(track(squared, CHECKPOINTS, regression(), **QUICK | given).warnings)

    assert "no learning rate was given" in of()
    assert "no escape law is known" in of(optimizer=optax.adam(0.1))
    assert "at iteration 1 the point is not near a minimum" in of(
        learning_rate=0.1, basin_height=0.5
    )
    assert "learning_rate times the sharpness is above 2" in of(learning_rate=5.0)
    rows = np.random.default_rng(0).normal(size=(40, 2))
    flat = track(lambda p, row: p @ row, [np.zeros(2)], rows, learning_rate=0.1, **QUICK)
    assert any("no time was predicted: all examples have the same" in w for w in flat.warnings)


def test_a_track_is_kept_and_turned_into_a_table(found, tmp_path):
    found.save(tmp_path / "track.npz")
    assert ls.load(tmp_path / "track.npz") == found
    assert found != dataclasses.replace(found, loss=found.loss + 1)
    frame = found.to_dataframe()
    assert list(frame["iteration"]) == [0, 50, 700]
    assert list(frame["noise"]) == list(found.noise)
    assert list(frame["escape_low"]) == [e.low for e in found.escape]
    assert frame.attrs["learning_rate"] == 0.1
    data = found.to_dataset()
    assert data["batch_sharpness"].dims == ("iteration",)
    assert float(data["sharpness"].sel(iteration=50)) == found.sharpness[1]
    text = repr(found)
    assert text.startswith("Track of 3 checkpoints")
    assert "SGD, learning rate 0.1, batches of 2" in text
    assert max(map(len, text.splitlines())) <= 110


def test_an_interrupted_track_holds_its_rows(found, monkeypatch):
    module = importlib.import_module("levysde.networks.track")
    whole, rows = module._measured, []

    def stops(*arguments):
        if rows:
            raise KeyboardInterrupt
        rows.append(whole(*arguments))
        return rows[0]

    monkeypatch.setattr(module, "_measured", stops)
    with pytest.raises(ls.errors.Interrupted, match="1 of 3 checkpoints") as stopped:
        track(squared, CHECKPOINTS, regression(), **QUICK)
    assert stopped.value.result.sharpness.tolist() == found.sharpness[:1].tolist()


def refuses(*_):
    raise AssertionError("something was computed")


@pytest.mark.parametrize(
    ("saved", "error", "message"),
    [
        (
            [{"w": np.zeros(2)}, {"w": np.array([0, np.nan])}],
            ValueError,
            r"checkpoints\[1\]\['w'\]",
        ),
        ([np.full(2, np.inf), np.zeros(2)], ValueError, r"checkpoints\[0\] must be finite"),
        (np.zeros((2, 2)), TypeError, "checkpoints must be a list of parameters"),
        ({"w": np.zeros(2)}, TypeError, "for a single point use diagnose"),
        ([], TypeError, "checkpoints must be a list of parameters"),
    ],
)
def test_a_broken_checkpoint_is_named_before_anything_is_computed(saved, error, message):
    with pytest.raises(error, match=message):
        track(refuses, saved, regression(), batch_size=BATCH)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"b": np.zeros(2)}, TypeError, r"checkpoints\[1\] is another tree.*\['w'\] is missing"),
        ({"w": np.zeros(3)}, ValueError, r"checkpoints\[1\]\['w'\] must have shape \(2,\)"),
        (np.zeros(3), ValueError, r"shape"),
    ],
)
def test_a_checkpoint_of_another_tree_is_named(change, error, message, monkeypatch):
    module = importlib.import_module("levysde.networks.track")
    monkeypatch.setattr(module, "_measured", refuses)

    def loss(params, features, target):
        return squared(params["w"], features, target)

    with pytest.raises(error, match=message):
        track(loss, [{"w": np.zeros(2)}, change], regression(), batch_size=BATCH)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"iterations": [0, 1]}, ValueError, r"iterations must have shape \(3,\)"),
        ({"iterations": [0, 2, 1]}, ValueError, "iterations must be increasing integers"),
        ({"iterations": [0, 0.5, 1]}, ValueError, "iterations must be increasing integers"),
        ({"batch_size": 8}, ValueError, "batch_size = 8, but there are 8 examples"),
        ({"loss_fn": lambda p, x, y: p["w"]}, TypeError, r"Here params is checkpoints\[0\]"),
    ],
)
def test_bad_arguments_are_told_what_to_type(given, error, message):
    whole = {"loss_fn": squared, "checkpoints": CHECKPOINTS, "data": regression()} | QUICK
    with pytest.raises(error, match=message):
        track(**whole | given)
