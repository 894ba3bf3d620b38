"""Estimators of tail and memory: exact laws, exact generators, and how often the controls are
flagged.

Samples are drawn by scipy's stable law or by NumPy, never by the toolkit. The rates of flags are at
n = 10,000 and the default level; what counts as the right reason is written beside each control.
"""

from collections.abc import Callable, Iterator

import numpy as np
from check import Check
from scipy import integrate
from scipy.signal import lfilter
from scipy.stats import levy_stable

from levysde import stats

REPLICATES = 100
ALPHAS = (1.2, 1.5, 1.8)
Maker = Callable[[np.random.Generator, int], np.ndarray]


def stable(alpha: float, shape: int | tuple[int, ...], seed, beta: float = 0.0) -> np.ndarray:
    return levy_stable.rvs(alpha, beta, size=shape, random_state=np.random.default_rng(seed))


def averaged(x: np.ndarray, beta: float = 0.9) -> np.ndarray:
    return lfilter([1 - beta], [1, -beta], x)


CONTROLS: dict[str, tuple[Maker, set[str]]] = {
    "Gaussian with independent lognormal scales": (
        lambda r, n: r.normal(size=n) * np.exp(r.normal(size=n)),
        {"drifts under sums", "tail"},
    ),
    "Gaussian with slow lognormal scales (AR(1), 0.99)": (
        lambda r, n: (
            r.normal(size=n) * np.exp(lfilter([0.141], [1, -0.99], r.normal(size=n + 1000))[1000:])
        ),
        {"varying scale"},
    ),
    "stable 1.5 averaged by momentum 0.9": (
        lambda r, n: averaged(levy_stable.rvs(1.5, 0.0, size=n + 500, random_state=r))[500:],
        {"correlated"},
    ),
    "Student t, 3 degrees": (lambda r, n: r.standard_t(3, n), {"drifts under sums", "tail"}),
    "Laplace": (lambda r, n: r.laplace(size=n), {"drifts under sums", "tail"}),
    "Gaussian": (lambda r, n: r.normal(size=n), {"Gaussian"}),
    "stable 1.5 with skewness 0.5": (
        lambda r, n: levy_stable.rvs(1.5, 0.5, size=n, random_state=r),
        {"asymmetric"},
    ),
}


def mean_of(part: str, what: str, values, reference: float, tolerance: float, source: str) -> Check:
    values = np.asarray(values, dtype=float)
    error = float(values.std(ddof=1) / np.sqrt(values.size))
    return Check(part, what, float(values.mean()), reference, tolerance, source, error)


def rate_of(part: str, what: str, hits, reference: float, tolerance: float, source: str) -> Check:
    return Check(part, what, float(np.mean(hits)), reference, tolerance, source)


def tails() -> Iterator[Check]:
    pareto = np.random.default_rng(1).pareto(1.7, (2000, 500)) + 1
    fits = [stats.hill(row, k=50).alpha for row in pareto]
    yield mean_of(
        "hill",
        "1/index, Pareto 1.7, k = 50 of 500",
        [1 / f.value for f in fits],
        1 / 1.7,
        0.02,
        "closed form",
    )
    inside = [f.low <= 1.7 <= f.high for f in fits]
    yield rate_of(
        "hill",
        "coverage of the 95% interval, Pareto 1.7, k = 50 of 500",
        inside,
        0.95,
        0.02,
        "chi-square law of the Hill sum",
    )
    student = [
        stats.hill(np.random.default_rng([2, i]).standard_t(3, 10_000)).alpha.value
        for i in range(40)
    ]
    yield rate_of(
        "hill",
        "index of Student t (3), k chosen, n = 10,000: bias",
        student,
        3.0,
        0.15,
        "degrees of freedom",
    )
    u, far = 8.0, 1e2  # scipy returns 0 below 1e-6
    inner = integrate.quad(
        lambda y: 2 * levy_stable.sf(np.exp(y), 1.5, 0), np.log(u), np.log(far), epsabs=1e-9
    )[0]
    area = inner + 2 * levy_stable.sf(far, 1.5, 0) / 1.5
    share = 2 * float(levy_stable.sf(u, 1.5, 0))
    yield Check(
        "hill_on_stable",
        "index 1.5, threshold at 8 scales",
        stats.hill_on_stable(1.5, share),
        share / area,
        1e-3,
        "quadrature of scipy's tail",
    )
    x = np.sort(np.abs(stable(1.5, 3000, 3)))[::-1]
    curve = stats.hill_curve(x)
    i = 200
    by_hand = 1 / np.mean(np.log(x[: curve.k[i]] / x[curve.k[i]]))
    yield Check(
        "hill_curve",
        f"at k = {curve.k[i]}",
        float(curve.alpha[i]),
        float(by_hand),
        1e-12,
        "definition",
    )
    for alpha, beta in ((0.8, 0.0), (1.5, 0.5), (1.8, 0.0)):
        fits = [stats.mcculloch(x) for x in stable(alpha, (200, 5000), 4, beta)]
        location = beta * np.tan(np.pi * alpha / 2)
        setting = f"stable {alpha}, skewness {beta}, n = 5000"
        for name, truth, allowed in (
            ("alpha", alpha, 0.01),
            ("scale", 1.0, 0.01),
            ("location", location, 0.02),
        ):
            found = [getattr(f, name) for f in fits]
            yield mean_of(
                "mcculloch",
                f"{name}, {setting}",
                [f.value for f in found],
                truth,
                allowed,
                "scipy's draws",
            )
            inside = [f.low <= truth <= f.high for f in found]
            yield rate_of(
                "mcculloch",
                f"coverage of {name}, {setting}",
                inside,
                0.95,
                0.05,
                "nominal coverage",
            )
    vectors = [
        np.sqrt(stable(0.75, (5000, 1), [5, i], 1.0))
        * np.random.default_rng([6, i]).normal(size=(5000, 10))
        for i in range(20)
    ]
    part = "block_log_moment_index"
    inverse = [1 / stats.block_log_moment_index(x).value for x in vectors]
    yield mean_of(
        part,
        "1/index by norms, isotropic stable 1.5, d = 10",
        inverse,
        1 / 1.5,
        0.03,
        "known index",
    )
    fit = stats.characteristic_function_fit
    coordinates = [stats.per_coordinate(fit, x).median for x in vectors]
    yield mean_of(
        "per_coordinate",
        "median of the index over 10 coordinates, isotropic stable 1.5",
        coordinates,
        1.5,
        0.01,
        "known index",
    )
    along = [stats.projections(fit, x, directions=10).median for x in vectors]
    yield mean_of(
        "projections",
        "median of the index over 10 directions, isotropic stable 1.5",
        along,
        1.5,
        0.01,
        "marginals of a stable vector",
    )


def bootstraps() -> Iterator[Check]:
    series = [
        lfilter([1], [1, -0.7], np.random.default_rng([7, i]).normal(size=5300))[300:]
        for i in range(200)
    ]
    optimum = (1.5 * (2 * 0.7 / 0.3**2 / (1.7 / 0.3)) ** 2) ** (1 / 3) * 5000 ** (1 / 3)
    lengths = [stats.block_length(x) for x in series]
    yield rate_of(
        "block_length",
        "AR(1) 0.7, n = 5000, moving blocks",
        lengths,
        optimum,
        0.15,
        "optimum in closed form",
    )
    for kind in ("moving", "stationary"):
        found = [stats.block_bootstrap(np.mean, x, kind=kind, resamples=100) for x in series]
        what = f"coverage, mean of AR(1) 0.7, {kind} blocks"
        yield rate_of(
            "block_bootstrap",
            what,
            [f.low <= 0 <= f.high for f in found],
            0.95,
            0.05,
            "nominal coverage",
        )
    noise = [averaged(stable(1.5, 5500, [8, i]))[500:] for i in range(60)]
    plain = [stats.characteristic_function_fit(x).alpha for x in noise]
    found = [
        stats.block_bootstrap(stats.characteristic_function_fit, x, resamples=50) for x in noise
    ]
    what = "coverage, index of stable 1.5 averaged by momentum 0.9, n = 5000 (plain interval: "
    what += f"{np.mean([f.low <= 1.5 <= f.high for f in plain]):.2f})"
    yield rate_of(
        "block_bootstrap",
        what,
        [f.low <= 1.5 <= f.high for f in found],
        0.95,
        0.1,
        "nominal coverage",
    )


def reports() -> Iterator[Check]:
    for alpha in ALPHAS:
        flags = [
            stats.tail_report(stable(alpha, 10_000, [9, i, int(10 * alpha)])).flags
            for i in range(REPLICATES)
        ]
        what = f"share of samples flagged, independent stable {alpha}"
        yield rate_of(
            "tail_report", what, [bool(f) for f in flags], 0.0, 0.05, "no sample should be flagged"
        )
    for number, (name, (make, reasons)) in enumerate(CONTROLS.items()):
        flags = [
            stats.tail_report(make(np.random.default_rng([10, number, i]), 10_000)).flags
            for i in range(REPLICATES)
        ]
        reason = " or ".join(sorted(reasons))
        if reasons == {"drifts under sums", "tail"}:
            reason = "the index changes under summation, or in the tail"
        what = f"share of samples flagged with the right reason ({reason}): {name}"
        yield rate_of(
            "tail_report",
            what,
            [bool(reasons & set(f)) for f in flags],
            1.0,
            0.05,
            "all samples should be flagged",
        )


def memory() -> Iterator[Check]:
    for hurst in (0.3, 0.7):
        sums = [stats.fractional_gaussian_noise(128, hurst, seed=i).sum() ** 2 for i in range(8000)]
        yield mean_of(
            "fractional_gaussian_noise",
            f"variance of the sum of 128, H = {hurst}",
            sums,
            128 ** (2 * hurst),
            0.08,
            "n^2H",
        )
    for hurst, allowed in ((0.3, 0.15), (0.5, 0.02), (0.7, 0.08), (0.9, 0.13)):
        noise = [stats.fractional_gaussian_noise(10_000, hurst, seed=i) for i in range(60)]
        dfa, rs = [stats.hurst_dfa(x) for x in noise], [stats.hurst_rs(x) for x in noise]
        setting = f"fractional Gaussian noise, H = {hurst}, n = 10,000"
        values = [f.value for f in dfa]
        yield rate_of("hurst_dfa", f"{setting}: bias", values, hurst, 0.03, "exact generator")
        inside = [f.low <= hurst <= f.high for f in dfa]
        yield rate_of("hurst_dfa", f"{setting}: coverage", inside, 0.95, 0.08, "nominal coverage")
        yield rate_of(
            "hurst_rs", f"{setting}: bias", [f.value for f in rs], hurst, allowed, "exact generator"
        )
    noise = stable(1.5, (60, 10_000), 11)
    rows = (
        ("hurst_rs", "moment-free", stats.hurst_rs, 0.5, 0.06),
        ("hurst_dfa", "moment 2", stats.hurst_dfa, 0.5, 0.06),
        ("hurst_dfa", "moment 1/2", lambda x: stats.hurst_dfa(x, moment=0.5), 1 / 1.5, 0.05),
    )
    for part, how, estimate, truth, allowed in rows:
        values = [estimate(x).value for x in noise]
        yield rate_of(
            part,
            f"independent stable 1.5, {how}",
            values,
            truth,
            allowed,
            "for moments above the index the largest jump dominates and H = 1/2; "
            "below it H = 1/alpha",
        )


def checks() -> Iterator[Check]:
    yield from tails()
    yield from bootstraps()
    yield from reports()
    yield from memory()
