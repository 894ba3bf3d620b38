"""Patch data and its network, how far momentum carries along a feature, and the study of Jelassi
and Li."""

import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from papers.jelassi2022 import (
    STUDY,
    batches,
    numbers,
    overshoot,
    real,
    theory,
    threshold,
    toy,
    training,
)
from papers.jelassi2022.digits import Digits, DigitsSettings, _drawn, _logits, _start
from papers.jelassi2022.patches import PatchData, cubic_patches, cubic_responses, patch_data
from papers.jelassi2022.training import Patches, PatchSettings, run_seeds, stacked, train_runs
from statistical import assert_mean

from levysde.landscapes import from_network
from levysde.stats import Estimate
from levysde.studies import Claim, Study, Verdict, run_study
from levysde.studies.page import markdown
from levysde.sweeps import Job, Sweep


def margins(data: PatchData) -> np.ndarray:
    """`y <X[place], w*>` of each example."""
    chosen = np.asarray(data.patches)[np.arange(len(data.labels)), np.asarray(data.place)]
    return np.asarray(data.labels) * (chosen @ np.asarray(data.direction))


def test_patches_have_the_law_that_they_say():
    data = patch_data(4000, dim=20, patches=4, noise=0.5, small_fraction=0.3, seed=5)
    assert np.linalg.norm(data.direction) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(margins(data), np.where(data.small, 0.3, 4.0), rtol=1e-5)
    other = np.arange(4) != np.asarray(data.place)[:, None]
    noise = np.asarray(data.patches)[other]
    assert noise.shape == (3 * 4000, 20)
    assert np.abs(noise @ np.asarray(data.direction)).max() < 1e-5
    assert_mean(np.sum(noise**2, 1) / 19, 0.25, 0.02, "variance across the feature")
    assert_mean(np.asarray(data.small, float), 0.3, 0.2, "fraction of small margins")
    assert_mean(np.asarray(data.labels) > 0, 0.5, 0.1, "labels")
    assert set(np.asarray(data.place).tolist()) == {0, 1, 2, 3}


def test_same_seed_same_noise_whatever_the_margins():
    one = patch_data(50, small_fraction=0.1, seed=3)
    two = patch_data(50, small_fraction=0.5, small_margin=0.2, large_margin=2.0, seed=3)
    other = np.arange(3) != np.asarray(one.place)[:, None]
    np.testing.assert_array_equal(np.asarray(one.patches)[other], np.asarray(two.patches)[other])
    assert not np.any(np.asarray(one.small) & ~np.asarray(two.small))  # nested
    assert np.any(patch_data(50, seed=4).labels != one.labels)
    turned = patch_data(50, dim=3, direction=[0.0, 0.0, 2.0])
    np.testing.assert_array_equal(turned.direction, [0, 0, 1])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num": 0}, "num must be at least 1"),
        ({"dim": 1}, "dim must be at least 2"),
        ({"patches": 1}, "patches must be at least 2"),
        ({"small_margin": -0.3}, "small_margin must be positive"),
        ({"noise": math.nan}, "noise must be positive"),
        ({"small_fraction": 1.5}, r"small_fraction must lie in \[0, 1\], not 1.5"),
        ({"direction": np.zeros(50)}, "direction must not be zero"),
        ({"direction": np.ones(3)}, r"direction must have shape \(50,\)"),
        ({"large_margin": "4"}, "large_margin must be a number"),
    ],
)
def test_patches_refuse_bad_input(arguments, words):
    with pytest.raises((ValueError, TypeError), match=words):
        patch_data(**arguments)


def test_network_refuses_bad_input():
    with pytest.raises(TypeError, match="data must come from patch_data"):
        cubic_patches(np.zeros((3, 2, 2)))
    with pytest.raises(ValueError, match="filters must be at least 1"):
        cubic_patches(patch_data(5), filters=0)
    with pytest.raises(ValueError, match="weight_decay must not be negative"):
        cubic_patches(patch_data(5), weight_decay=-1.0)


def test_gradient_equals_the_formula(float64):
    data = patch_data(12, dim=5, patches=3, seed=1)
    landscape = cubic_patches(data, filters=4, init_scale=0.5, weight_decay=0.1, seed=2)
    w = np.asarray(landscape.unflatten(landscape.minimum)["filters"])
    patches, labels = np.asarray(data.patches), np.asarray(data.labels)
    inner = np.einsum("njd,rd->njr", patches, w)
    output = np.sum(inner**3, (1, 2))
    value = np.mean(np.log1p(np.exp(-labels * output))) + 0.05 * np.sum(w**2)
    weight = -labels / (1 + np.exp(labels * output)) / len(labels)
    slope = 3 * np.einsum("n,njr,njd->rd", weight, inner**2, patches) + 0.1 * w
    found, gradient, responses = jax.jit(
        lambda w: (
            landscape.value(w.ravel()),
            landscape.gradient(w.ravel()),
            cubic_responses(w, data.patches),
        )
    )(jnp.asarray(w))
    assert float(found) == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(gradient, slope.ravel(), rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(responses.sum(1), output, rtol=1e-11)


def bowls(count: int):
    """Networks of 6 examples whose gradient over a batch shows which examples are in it: loss of
    example i is x_i."""
    one = from_network(lambda p, x, y: p @ x, jnp.zeros(6), jnp.eye(6), jnp.zeros(6))
    return stacked([one] * count)


def rates(eta: float, gamma: float) -> dict[str, jax.Array]:
    return {
        name: jnp.asarray(v, float)
        for name, v in (("learning_rate", eta), ("gamma", gamma), ("beta2", 0.9), ("delta", 1e-8))
    }


def keys(count: int) -> jax.Array:
    return jax.vmap(jax.random.key)(jnp.arange(count, dtype=jnp.uint32))


@pytest.mark.slow
def test_momentum_is_the_average_of_gradients(float64):
    landscape = cubic_patches(patch_data(20, dim=6, seed=1), filters=3, init_scale=0.3, seed=2)
    at = jnp.array([1, 2, 7, 7, 30])
    path = np.asarray(
        train_runs(stacked([landscape]), "momentum", rates(0.2, 0.8), at, keys(1), None)
    )[0]
    slope = jax.jit(lambda x: landscape.gradient(x))
    x, average, known = np.asarray(landscape.minimum), 0.0, {}
    for step in range(1, 31):
        average = 0.8 * average + 0.2 * np.asarray(slope(jnp.asarray(x)))
        x = x - 0.2 * average
        known[step] = x
    for k, step in enumerate(at.tolist()):
        np.testing.assert_allclose(path[k], known[step], rtol=1e-9, atol=1e-12)
    plain = np.asarray(
        train_runs(stacked([landscape]), "momentum", rates(0.2, 0.0), at[:1], keys(1), None)
    )[0, 0]
    np.testing.assert_allclose(plain, landscape.minimum - 0.2 * slope(landscape.minimum), rtol=1e-9)


def test_adam_takes_its_first_step_by_signs():
    landscape = cubic_patches(patch_data(20, dim=6, seed=1), filters=3, init_scale=0.3, seed=2)
    path = train_runs(stacked([landscape]), "adam", rates(0.01, 0.9), jnp.array([1]), keys(1), None)
    moved = np.asarray(path)[0, 0] - np.asarray(landscape.minimum)
    slope = jax.jit(lambda x: landscape.gradient(x))(landscape.minimum)
    np.testing.assert_allclose(moved, -0.01 * np.sign(slope), rtol=1e-3)


def test_minibatches_take_every_example_once_an_epoch():
    path = np.asarray(
        train_runs(bowls(4), "momentum", rates(1.0, 0.0), jnp.array([1, 3, 6]), keys(4), 2)
    )
    assert np.all(np.sort(path[:, 0]) == [-0.5, -0.5, 0, 0, 0, 0])
    assert np.all(path[:, 1] == -0.5)
    assert np.all(path[:, 2] == -1.0)
    assert len(np.unique(path[:, 0], axis=0)) > 1  # each run has its own order


@pytest.mark.slow
def test_a_grid_compiles_nothing_new(monkeypatch):
    traced = []
    build = training._optimiser
    monkeypatch.setattr(
        training, "_optimiser", lambda rule, rates: traced.append(rule) or build(rule, rates)
    )
    for gamma, eta, beta in ((0.0, 0.1, 0.3), (0.9, 0.2, 0.4), (0.5, 0.05, 0.2)):
        Patches().run(
            tiny(gamma=gamma, learning_rate=eta, small_margin=beta, dim=7, steps=None, time=2.0),
            Job(1),
        )
    assert traced == ["momentum"]


def tiny(**changes) -> PatchSettings:
    small = {
        "runs": 3,
        "steps": 20,
        "examples": 20,
        "dim": 6,
        "filters": 3,
        "test_points": 50,
        "records": 5,
    }
    return PatchSettings(**(small | changes))


@pytest.mark.slow
def test_more_runs_keep_the_first():
    assert run_seeds(7, 5)[:3] == run_seeds(7, 3)
    two, three = (np.asarray(Patches().run(tiny(runs=n), Job(3))["signal"]) for n in (2, 3))
    np.testing.assert_allclose(three[:2], two, rtol=1e-5)


@pytest.mark.slow
def test_measured_errors_are_those_of_new_examples():
    settings = PatchSettings(
        runs=2, gamma=0.9, steps=200, records=2, test_points=8000, small_margin=0.3
    )
    found = {name: np.asarray(values) for name, values in Patches().run(settings, Job(0)).items()}
    seeds = run_seeds(0, 2)[0]
    data = patch_data(200, small_margin=0.3, noise=3 / math.sqrt(50), seed=seeds[0])
    landscape = stacked([cubic_patches(data, seed=seeds[1])])
    x = train_runs(landscape, "momentum", settings.rates(), jnp.array([200]), keys(1), None)[0, 0]
    filters = x.reshape(10, 50)
    for name, fraction in (("test_small", 1.0), ("test_large", 0.0)):
        new = patch_data(
            20_000,
            small_margin=0.3,
            small_fraction=fraction,
            noise=3 / math.sqrt(50),
            direction=data.direction,
            seed=99,
        )
        wrong = np.asarray(new.labels * cubic_responses(filters, new.patches).sum(1) <= 0, float)
        spread = math.hypot(wrong.std() / math.sqrt(20_000), 0.5 / math.sqrt(8000))
        assert abs(wrong.mean() - found[name][0, -1]) < 5 * spread
    assert 0.02 < found["test_small"][0, -1] < 0.45  # an error that could have come out otherwise
    assert found["signal"][0, -1] == pytest.approx(
        np.linalg.norm(filters @ data.direction), rel=1e-3
    )
    share = np.asarray(data.small).mean()
    assert found["small_share"][0, -1] == pytest.approx(share)
    made = np.asarray(cubic_responses(filters, data.patches)) * np.asarray(data.labels)[:, None]
    holds = np.arange(3) == np.asarray(data.place)[:, None]
    small = np.asarray(data.small)
    assert found["small_by_signal"][0, -1] == pytest.approx(
        (made * holds).sum(1)[small].mean(), rel=1e-2
    )
    assert found["small_by_noise"][0, -1] == pytest.approx(
        (made * ~holds).sum(1)[small].mean(), rel=1e-2, abs=1e-3
    )


def ball(gamma: float, eta: float = 0.1, mu: float = 0.1, alpha: float = 4.0) -> float:
    """Where averaged gradients leave one filter along the feature, of examples without noise.
    float64."""
    slope = jax.grad(lambda c: (1 - mu) * jax.nn.softplus(-((alpha * c) ** 3)))

    def step(_, state):
        c, average = state
        average = gamma * average + (1 - gamma) * slope(c)
        return c - eta * average, average

    run = jax.jit(
        lambda n: jax.lax.fori_loop(0, n, step, (jnp.asarray(0.01, float), jnp.asarray(0.0, float)))
    )
    return float(run(round(25 / (1 - gamma)))[0])


def test_overshoot_is_the_limit_of_a_ball_and_approached_from_above(float64):
    rest = np.array([1e-2, 1e-3, 1e-4])
    law = [
        theory.momentum_overshoot(learning_rate=0.1, gamma=1 - r, small_fraction=0.1) for r in rest
    ]
    excess = np.array([ball(1 - r) for r in rest]) / law - 1
    assert np.all(excess > 0)
    orders = np.log10(excess[:-1] / excess[1:])
    # the correction is of order (1 - gamma)^(1/2)
    assert np.all((orders > 0.4) & (orders < 0.6)), (excess, orders)
    assert excess[-1] < 0.01


def test_threshold_is_where_the_overshoot_reaches_the_small_margin():
    rest = theory.momentum_threshold(learning_rate=0.1, small_margin=0.3, small_fraction=0.1)
    assert rest == pytest.approx(2 * math.log(2) * 0.9 * 0.1 * 0.09)
    far = theory.momentum_overshoot(learning_rate=0.1, gamma=1 - rest, small_fraction=0.1)
    assert 0.3 * far == pytest.approx(1)
    with pytest.raises(ValueError, match="gamma must be at least 0 and below 1, not 1"):
        theory.momentum_overshoot(learning_rate=0.1, gamma=1)
    with pytest.raises(ValueError, match="small_margin must be positive"):
        theory.momentum_threshold(learning_rate=0.1, small_margin=0)
    with pytest.raises(TypeError, match="traced"):
        jax.jit(lambda eta: theory.momentum_overshoot(learning_rate=eta, gamma=0.9))(0.1)


def test_race_is_won_by_momentum_alone_where_noise_is_large_and_by_many_examples():
    setting = {
        "learning_rate": 0.1,
        "small_margin": 0.3,
        "small_fraction": 0.1,
        "examples": 200,
        "init_scale": 0.05,
    }
    plain = theory.momentum_threshold(learning_rate=0.1, small_margin=0.3, small_fraction=0.1)
    assert theory.memorization_threshold(noise_norm=1e4, **setting) == pytest.approx(plain)
    # two normal numbers: the larger is 1/sqrt(pi) on average
    bracket = 1 + 0.1 * 0.3**2 * 200 / (3**2 * 0.05 * 3 / math.sqrt(math.pi))
    assert theory.memorization_threshold(noise_norm=3.0, chances=2, **setting) == pytest.approx(
        plain * bracket**2, rel=1e-6
    )
    with pytest.raises(ValueError, match="chances must be at least 2"):
        theory.memorization_threshold(noise_norm=3.0, chances=1, **setting)


def test_race_is_won_where_two_equations_say_so(float64):
    """The derivation's own equations, stepped: the feature is past 1/beta when the noise blows up,
    or it is not."""
    beta, mu, count, norm, init = 0.3, 0.1, 200, 3.0, 0.05
    setting = {"learning_rate": 0.1, "small_margin": beta, "small_fraction": mu}
    rest = theory.memorization_threshold(
        examples=count, noise_norm=norm, init_scale=init, **setting
    )

    def feature_at_the_end(rest: float) -> float:
        c = theory.momentum_overshoot(learning_rate=0.1, gamma=1 - rest, small_fraction=mu)
        u, dt = init * norm * 1.8674751, 1e-3
        while u < 1e4 and c < 1e4:
            c, u = c + dt * 1.5 * mu * beta**3 * c**2, u + dt * 1.5 * norm**2 / count * u**2
            dt = 1e-3 * min(1 / (1.5 * norm**2 / count * u), 1 / (1.5 * mu * beta**3 * c))
        return beta * c

    assert feature_at_the_end(1.02 * rest) < 1 < feature_at_the_end(0.98 * rest)


def test_digits_keep_training_and_test_images_apart():
    settings = DigitsSettings(examples=300, small_fraction=0.5, pixel_noise=0.0, low_contrast=0.25)
    images, labels, low, full, truth = _drawn(settings, 0, 1)
    assert (images.shape, labels.shape, full.shape, truth.shape) == (
        (300, 64),
        (300,),
        (1497, 64),
        (1497,),
    )
    np.testing.assert_allclose(low, full / 4)
    tops = images.max(1)
    assert set(np.round(tops, 2).tolist()) == {0.25, 1.0} or np.all((tops > 0.9) | (tops <= 0.25))
    assert_mean(tops < 0.3, 0.5, 0.5, "images of low contrast")
    whole = np.where((tops < 0.3)[:, None], 4 * images, images)
    together = np.concatenate([whole, full])
    assert len(np.unique(together, axis=0)) == len(together)  # all 1797, each once
    with pytest.raises(ValueError, match="examples must leave test images"):
        Digits().check(DigitsSettings(examples=1700))


def test_digits_network_is_a_convolution_and_follows_the_contrast():
    params = _start(DigitsSettings(channels=2), 0)
    image = np.random.default_rng(0).random((1, 64)).astype(np.float32)
    grid = image.reshape(8, 8)
    windows = np.lib.stride_tricks.sliding_window_view(grid, (3, 3)).reshape(6, 6, 9)
    active = np.maximum(0, np.einsum("ijk,ck->cij", windows, params["filter"]))
    pooled = active.reshape(2, 3, 2, 3, 2).mean((2, 4)).ravel()
    params = jax.tree.map(jnp.asarray, params)
    logits = np.asarray(_logits(params, jnp.asarray(image)))[:, 0]
    np.testing.assert_allclose(logits, np.asarray(params["output"]) @ pooled, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        _logits(params, jnp.asarray(image / 4))[:, 0], logits / 4, rtol=1e-4, atol=1e-5
    )


def test_intervals():
    found = numbers.over_runs(np.array([1.0, 2.0, 3.0]))
    assert found.value == 2
    assert found.high - 2 == pytest.approx(4.302653 / math.sqrt(3), rel=1e-5)
    assert numbers.over_runs(np.ones(5)) == Estimate(1.0, 1.0, 1.0)
    assert numbers.share(32, 32).low == pytest.approx(0.025 ** (1 / 32))
    values = np.random.default_rng(0).normal(size=(2, 400))
    mean = numbers.resampled(lambda v: float(v[0].mean()), values)
    assert mean.high - mean.low == pytest.approx(2 * 1.96 * values[0].std() / 20, rel=0.15)
    lost = numbers.resampled(lambda v: np.nan, values)
    assert (lost.low, lost.high) == (-np.inf, np.inf)
    band = toy.other_seeds(np.array([1.0, 2.0, 3.0]), 5)
    assert band.high - 2 == pytest.approx(4.302653 * math.sqrt(1 / 3 + 1 / 5), rel=1e-5)


class Fake(Sweep):
    """What a judge reads of a sweep."""

    def __init__(self, coords: dict, **columns: np.ndarray):
        dims = (*coords, "run", "record")
        self.frame = xr.Dataset(
            {name: (dims, values) for name, values in columns.items()}, coords=coords
        )

    @property
    def data(self) -> xr.Dataset:
        return self.frame


def fake(**columns: np.ndarray) -> Fake:
    return Fake({"gamma": toy.GAMMAS}, **columns)


AS, NOT = "as predicted", "not as predicted"


def said(verdict: Verdict) -> str:
    """The word, or for a finding of our own whether it is as predicted."""
    return verdict.condition.split(":")[0] if verdict.word == "own finding" else verdict.word


COUNT = len(toy.GAMMAS)


def test_toy_verdicts_can_go_both_ways():
    spread = np.random.default_rng(0).normal(size=(COUNT, 32, 1)) * 1e-3
    shape = (COUNT, 32, 1)
    falling = np.array([0.05, 0.046, 0.035, 0.006, 0.001, 0.001, 0.001])[:, None, None] + spread
    good = fake(train_error=np.zeros(shape), test_error=falling, test_small=10 * falling)
    assert said(toy._zero_training(good)) == "holds"
    assert said(toy._near_half_mu(good)) == "holds"
    assert said(toy._better(good)) == "holds"
    assert said(toy._learns(good)) == "holds"
    bad = fake(
        train_error=np.broadcast_to(np.arange(32)[None, :, None] % 2, shape),
        test_error=falling[::-1] + 0.06,
        test_small=10 * falling + 0.5,
    )
    assert said(toy._zero_training(bad)) == "not as recalled"
    assert said(toy._near_half_mu(bad)) == "not as recalled"
    assert said(toy._better(bad)) == "outside the band that we set"  # nothing here may say "fails"
    assert said(toy._learns(bad)) == "outside the band that we set"
    known = np.array([*(np.mean(v) for v in toy.KNOWN_ERROR.values()), 0.0])[:, None, None] + spread
    signal = np.array([0.6, *toy.KNOWN_SIGNAL.values(), 7.0])[:, None, None] * (1 + 10 * spread)
    assert said(toy._known(fake(test_error=known, signal=signal))) == AS
    found = toy._known(fake(test_error=known, signal=1.1 * signal))
    assert said(found) == NOT
    assert "signal at gamma = 0.98" in found.outcome


def test_the_share_of_noise_is_reported_for_each_momentum():
    share = np.array([0.999, 0.9, 0.8, 0.5, 0.3, 0.08, 0.03])[:, None, None] * np.ones(
        (COUNT, 8, 1)
    )
    found = toy._shares(
        fake(small_by_noise=share, small_by_signal=1 - share, test_small=np.zeros((COUNT, 8, 1)))
    )
    assert found.word == "own finding"
    assert found.condition.startswith(
        "the noise makes 0.30 of these margins at gamma = 0.99 and 0.03 at 0.998"
    )
    assert "0.08 [0.08, 0.08] (GD+M, gamma = 0.995)" in found.outcome


def test_growth_is_counted_from_the_collapse_on():
    loss = np.broadcast_to([0.7, 0.5, 0.005, 0.001], (COUNT, 3, 4))
    signal = np.broadcast_to([0.1, 0.3, 0.5, 2.0], (COUNT, 3, 4))
    np.testing.assert_allclose(toy.growth(fake(large_loss=loss, signal=signal), 0.9), 4.0)


def test_overshoot_verdicts_can_go_both_ways():
    noise = 1 + 0.002 * np.random.default_rng(0).normal(size=(4, 16))
    falling = np.array([1.2, 1.1, 1.05, 1.02])[:, None] * noise
    assert said(overshoot._from_below(falling)) == AS
    assert said(overshoot._from_below(falling[::-1])) == NOT
    assert said(overshoot._from_below(falling - 0.1)) == NOT
    gammas, rates = np.array([0.99, 0.995, 0.998, 0.999]), np.array([0.025, 0.05, 0.1, 0.2])
    by_rate = np.sqrt(rates)[:, None] * noise
    assert (
        said(overshoot._exponents((1 - gammas)[:, None] ** -0.5 * noise, gammas, by_rate, rates))
        == AS
    )
    assert (
        said(overshoot._exponents((1 - gammas)[:, None] ** -0.4 * noise, gammas, by_rate, rates))
        == NOT
    )


@pytest.mark.parametrize(
    ("power", "k", "words"), [(2, 1.0, (AS, AS, AS)), (4, 4.0, (AS, NOT, NOT))]
)
def test_threshold_verdicts_see_the_law_and_another(power, k, words):
    etas, betas, gammas = (
        np.array([0.05, 0.1, 0.2]),
        np.array([0.2, 0.3, 0.45]),
        1 - np.geomspace(1, 1e-4, 17),
    )
    law = 2 * math.log(2) * 0.9 * etas[:, None] * betas[None] ** 2
    true = k * law * (betas[None] / 0.3) ** (power - 2)
    noise = np.random.default_rng(0).normal(size=(3, 3, 17, 16))
    error = 0.5 / (1 + (true[..., None, None] / (1 - gammas)[:, None]) ** 6 * np.exp(0.1 * noise))
    assert said(threshold._rank(error, law[..., None] / (1 - gammas))) == words[0]
    assert said(threshold._constant(error, gammas, law)) == words[1]
    assert said(threshold._exponents(error, gammas, etas, betas)) == words[2]
    # its rows go as a power
    assert said(threshold._examples(error[0], gammas, np.array([100, 200, 400]))) == NOT


@pytest.mark.parametrize(("power", "word"), [(1.0, AS), (0.0, NOT)])
def test_race_verdict_sees_the_race_and_momentum_alone(power, word):
    rest = np.geomspace(1, 1e-4, 17)
    plain, bracket = np.full((2, 2, 2), 0.02), np.linspace(1.2, 12, 8).reshape(2, 2, 2)
    noise = np.random.default_rng(0).normal(size=(2, 2, 2, 17, 12))
    half = 0.4 * plain * bracket**power
    share = 1 / (1 + (half[..., None, None] / rest[:, None]) ** 4 * np.exp(0.1 * noise))
    assert said(threshold._race(share, rest, plain, plain * bracket)) == word


def test_threshold_helpers():
    rest = np.array([1.0, 0.1, 0.01])
    assert threshold.crossings(np.array([[0.5, 0.25 + 0.05, 0.0]]), rest)[0] == pytest.approx(
        10 ** -(1 + 1 / 6)
    )
    assert np.isnan(threshold.crossings(np.array([[0.1, 0.1, 0.0], [0.5, 0.5, 0.5]]), rest)).all()
    score, solved = np.array([1.0, 2.0, 3.0, 3.0]), np.array([False, False, True, True])
    assert threshold.area(score, solved) == 1
    assert threshold.area(score, ~solved) == 0
    assert threshold.area(np.ones(4), solved) == 0.5
    assert np.isnan(threshold.area(score, np.ones(4, bool)))


def test_batch_and_digit_verdicts_name_where_they_hold():
    small = np.random.default_rng(0).normal(size=16) * 1e-3
    errors = np.zeros((2, 3, 16, 1))
    errors[:, 0] = 0.05
    errors[0, 1, :, 0] = 0.04 + small  # gamma = 0.95 gains 0.01 with batches of 10, 0.05 with all
    sweep = Fake({"batch_size": [10, 200], "gamma": batches.GAMMAS}, test_error=errors)
    verdict = batches._by_batch({"steps": sweep, "epochs": sweep})
    assert verdict.word == "own finding"
    assert verdict.condition.startswith(
        "the gain grows with the batch at equal steps, gamma = 0.95 and at equal epochs"
    )
    assert "gamma = 0.99" not in verdict.condition
    assert batches._everywhere({"steps": sweep, "epochs": sweep}).word == "holds"
    worse = errors.copy()
    worse[1, 2] = 0.06
    worse = Fake({"batch_size": [10, 200], "gamma": batches.GAMMAS}, test_error=worse)
    assert said(batches._everywhere({"steps": sweep, "epochs": worse})) == "not as restated"
    claim = real.CLAIMS[1]
    assert (
        real._anywhere(claim, {(1.0, 0.9): 0.02 + small, (1.0, 0.99): 0.03 + small}).word == "holds"
    )
    assert (
        said(real._anywhere(claim, {(1.0, 0.9): small, (1.0, 0.99): -0.03 + small}))
        == "not as recalled"
    )
    assert (
        real._anywhere(claim, {(1.0, 0.9): 0.02 + small, (1.0, 0.99): small}).word
        == "holds only if"
    )
    assert (
        real._anywhere(claim, {(1.0, 0.9): 30 * small, (1.0, 0.99): small}).word == "inconclusive"
    )


def test_bars_in_a_cell_do_not_end_it():
    claim = Claim("a", "|c| grows", "x", "y", "z")
    row = markdown([Verdict(claim, "holds", "1", "2")], "levysde study").splitlines()[6]
    assert row == "| `a` | \\|c\\| grows | x (recalled) | 1 | **holds** |"


def test_keys_of_claims_are_unique_and_written_before():
    claims = [claim for section in STUDY.sections for claim in section.claims]
    assert len({claim.key for claim in claims}) == len(claims)
    assert all(claim.fails_if and claim.predicted and claim.where for claim in claims)


TINY = {"runs": 3, "examples": 20, "records": 4, "steps": 12}
PATCH = {"dim": 6, "filters": 3, "test_points": 40}


@pytest.mark.slow_cases(but=("digits",))
@pytest.mark.parametrize("section", STUDY.sections, ids=lambda section: section.name)
def test_a_section_runs_end_to_end_and_goes_on_where_it_stopped(section, tmp_path, monkeypatch):
    def sweeps(quick: bool) -> dict:
        made = section.sweeps(True)
        extra = {"examples": 100} if section.name == "digits" else PATCH
        for name, spec in made.items():
            run = {k: v for k, v in spec["run"].items() if k not in ("epochs",)} | TINY | extra
            run = {k: v for k, v in run.items() if k not in spec["grid"]}
            made[name] = spec | {"run": run}
        return made

    study = Study("tiny", "nobody, nowhere", (dataclasses.replace(section, sweeps=sweeps),))
    found = run_study(study, tmp_path / "out", quick=True)
    assert [verdict.claim for verdict in found] == list(section.claims)
    text = (tmp_path / "out" / "verdicts.md").read_text()
    assert all(verdict.power and verdict.outcome.replace("|", "\\|") in text for verdict in found)
    assert json.loads((tmp_path / "out" / "data.json").read_text())["tables"]
    assert list((tmp_path / "out").glob(f"{section.name}-*.png"))
    monkeypatch.setattr(training, "train_runs", None)  # nothing is trained again
    again = run_study(study, tmp_path / "out", quick=True)
    assert [verdict.outcome for verdict in again] == [verdict.outcome for verdict in found]
