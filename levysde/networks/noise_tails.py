"""The tail index of minibatch noise in a large model: of sampled coordinates, of each layer, of the
norm; and its scale.

Minibatches are drawn and their gradients computed K at a time, K about the root of their number;
nothing is kept of a block but sums over it, the norms, and the values in a random part of the
coordinates of each layer (a leaf of the parameter tree).

Caveats of a tail index of minibatch noise:

* the noise of finite data is bounded: an index below 2 describes its bulk, not its far tail;
* a minibatch mean tends to a Gaussian with its size, unless single examples have heavy tails
  themselves;
* both estimators take values as independent, symmetric and of one scale; a mixture of scales reads
  low (a Gaussian one 1.17);
* norms of vectors of many coordinates concentrate: Hill reads them as no tail at all (124 in a
  thousand dimensions), and block sums of norms are only the surer of a wrong number where scales
  are mixed (`levysde.stats.projections`).
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import jax.numpy as jnp
import numpy as np

from levysde.errors import AccuracyWarning
from levysde.landscapes import NetworkLandscape
from levysde.networks.example_blocks import batch_noise, compiled
from levysde.networks.gradient_noise import VARIED, TailIndex, median_estimate, tail_indices
from levysde.results import Result
from levysde.stats import Estimate, hill, index_of_growth
from levysde.tables import Table

# coordinates looked at in all, and at least of each layer where there is room
MOST_SAMPLED, _FEWEST = 1500, 8
_BY_SIZE = 1000  # of them shared out by the layers' sizes, the rest alike
_LAYERS = 12  # rows of a table for layers
_NOTHING = Estimate(float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True, repr=False)
class LayerTail(Result):
    """The noise in one leaf of the parameter tree.

    Attributes:
        name: its path, as JAX writes it.
        size: coordinates.
        variance: mean of the diagonal of C1 over them.
        index: median over the sampled coordinates of the index by the characteristic function.
        block: the same by the block log-moment. Intervals are bootstraps over coordinates; NaN if
            no index could be estimated.
        norm: index of the layer's norm, by block sums.
    """

    name: str
    size: int
    variance: float
    index: Estimate
    block: Estimate
    norm: Estimate

    def _table(self) -> Table:
        return Table(
            f"LayerTail: {self.name}",
            [
                ("parameters", f"{self.size:,}"),
                ("mean variance", f"{self.variance:.4g}"),
                ("index of coordinates, characteristic function", f"{self.index}"),
                ("index of coordinates, block log-moment", f"{self.block}"),
                ("index of the norm", f"{self.norm}"),
            ],
        )


@dataclass(frozen=True, repr=False)
class NoiseTails(Result):
    """Tail indices and scale of minibatch noise.

    Attributes:
        coordinates: the numbers of the sampled coordinates, shape `(m,)`.
        characteristic_function, block_log_moment: the index by both estimators; `per_coordinate`
            has shape `(m,)`.
        layers: a `LayerTail` each.
        norm: the index of the whole noise's norm, by block sums; `norm_hill` by Hill's estimator.
        mean_log: mean of `log|noise|` in each coordinate, NaN where it never moved, shape `(d,)`.
        moved: whether a coordinate has any noise, shape `(d,)`.
        num_batches, batch_size: drawn.
    """

    coordinates: np.ndarray = field(repr=False)
    characteristic_function: TailIndex
    block_log_moment: TailIndex
    layers: tuple[LayerTail, ...]
    norm: Estimate
    norm_hill: Estimate
    mean_log: np.ndarray = field(repr=False)
    moved: np.ndarray = field(repr=False)
    num_batches: int
    batch_size: int

    def scale(self, alpha: float) -> np.ndarray:
        """S, the stable scale of each coordinate at the index `alpha`, 0 without noise; see
        `stats.stable_scale`."""
        logs = np.where(self.moved, self.mean_log, 0.0)
        return np.where(self.moved, np.exp(logs - np.euler_gamma * (1 / alpha - 1)), 0.0)

    def _table(self) -> Table:
        return Table(
            "NoiseTails", [("batches", f"{self.num_batches} of {self.batch_size}"), *self._rows()]
        )

    def _rows(self) -> list[tuple[str, str]]:
        rows = [
            (
                "coordinates, characteristic function",
                f"median {self.characteristic_function.median}",
            ),
            ("coordinates, block log-moment", f"median {self.block_log_moment.median}"),
            ("norm, block sums", f"{self.norm}"),
            ("norm, Hill", f"{self.norm_hill} (norms of many coordinates concentrate)"),
        ]
        shown = self.layers if len(self.layers) <= _LAYERS else self.layers[: _LAYERS - 1]
        rows += [
            (
                f"layer {row.name}",
                f"{row.index}, index of its norm {row.norm.value:.3g}, {row.size:,} params",
            )
            for row in shown
        ]
        if len(shown) < len(self.layers):
            rows.append((f"{len(self.layers) - len(shown)} more layers", "in .layers"))
        return rows


def sampled_coordinates(landscape: NetworkLandscape, rng: np.random.Generator) -> np.ndarray:
    """Some coordinates of each layer, rising."""
    sizes = [int(np.prod(shape)) for shape in landscape.shapes]
    alike = (
        max(_FEWEST, (MOST_SAMPLED - _BY_SIZE) // len(sizes))
        if len(sizes) * _FEWEST <= MOST_SAMPLED
        else 1
    )
    share = [min(s, alike + _BY_SIZE * s // sum(sizes)) for s in sizes]
    starts = np.cumsum([0, *sizes[:-1]])
    return np.concatenate(
        [
            start + np.sort(rng.choice(s, k, replace=False))
            for start, s, k in zip(starts, sizes, share, strict=True)
        ]
    )


def batch_rows(n: int, batch_size: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` minibatches of different examples, shape `(count, batch_size)`."""
    return np.stack(
        [rng.choice(n, batch_size, replace=False, shuffle=False) for _ in range(count)]
    ).astype(np.int32)


def measure_tails(
    landscape: NetworkLandscape,
    x: np.ndarray,
    mean: np.ndarray,
    names: tuple[str, ...],
    variance: np.ndarray,
    columns: np.ndarray,
    coordinates: np.ndarray,
    batch_size: int,
    num_batches: int,
    rng: np.random.Generator,
) -> tuple[NoiseTails, np.ndarray]:
    """Tail indices and scale, and the noise of each minibatch in the sampled coordinates that have
    enough different values for an index (in all with noise where none has), `(num_batches, k)`.

    `variance` is the diagonal of C1, 0 where there is no noise; `columns` the examples'
    deviations, `(n, m)`."""
    block = max(2, int(np.sqrt(num_batches)))
    dtype = landscape.minimum.dtype
    place, centre, chosen = (
        jnp.asarray(v, t) for v, t in ((x, dtype), (mean, dtype), (coordinates, jnp.int32))
    )
    first = batch_rows(landscape.num_examples, batch_size, block, rng)
    program, _ = compiled(batch_noise, landscape, place, centre, jnp.asarray(first), chosen)
    logs, moves = np.zeros(x.size), np.zeros(x.size)
    noise, squares, sums = [], [], []
    ends = np.cumsum([int(np.prod(shape)) for shape in landscape.shapes])[:-1]
    for number in range(num_batches // block):
        rows = first if number == 0 else batch_rows(landscape.num_examples, batch_size, block, rng)
        total, log, moved, values, size = (
            np.asarray(part, float)
            for part in program(landscape, place, centre, jnp.asarray(rows), chosen)
        )
        logs, moves = logs + log, moves + moved
        noise.append(values)
        squares.append(size)
        sums.append([float(part @ part) for part in np.split(total, ends)])
    live = variance > 0
    noise, squares, sums = np.concatenate(noise), np.stack(squares), np.array(sums)
    cf, blm, layers = _indices(
        landscape, names, variance, columns, coordinates, noise, squares, sums, live, rng
    )
    whole = np.sqrt(squares.sum(2))
    with np.errstate(invalid="ignore"):
        mean_log = np.where(moves > 0, logs / np.where(moves > 0, moves, 1), np.nan)
    varied = np.isfinite(cf.per_coordinate)
    found = NoiseTails(
        coordinates=coordinates,
        characteristic_function=cf,
        block_log_moment=blm,
        layers=layers,
        norm=_or_nothing(lambda: index_of_growth(whole, np.sqrt(sums.sum(1)))),
        norm_hill=_or_nothing(lambda: hill(whole.ravel()).alpha),
        mean_log=mean_log,
        moved=live & (moves > 0),
        num_batches=whole.size,
        batch_size=batch_size,
    )
    return found, noise[:, varied if varied.any() else live[coordinates]]


def _indices(
    landscape: NetworkLandscape,
    names: tuple[str, ...],
    variance: np.ndarray,
    columns: np.ndarray,
    coordinates: np.ndarray,
    noise: np.ndarray,
    squares: np.ndarray,
    sums: np.ndarray,
    live: np.ndarray,
    rng: np.random.Generator,
) -> tuple[TailIndex, TailIndex, tuple[LayerTail, ...]]:
    """Over all sampled coordinates, and layer by layer."""
    here = live[coordinates]
    varied = np.array(
        [np.unique(c).size >= VARIED * len(columns) for c in columns[:, here].T], bool
    )
    blm, cf = tail_indices(noise[:, here], here, varied, rng)
    ends = np.cumsum([0, *(int(np.prod(shape)) for shape in landscape.shapes)])
    layers = []
    for k, name in enumerate(names):
        mine = (coordinates >= ends[k]) & (coordinates < ends[k + 1])
        layers.append(
            LayerTail(
                name=name,
                size=int(ends[k + 1] - ends[k]),
                variance=float(variance[ends[k] : ends[k + 1]].mean()),
                index=median_estimate(cf.per_coordinate[mine], rng),
                block=median_estimate(blm.per_coordinate[mine], rng),
                norm=_or_nothing(
                    lambda k=k: index_of_growth(np.sqrt(squares[:, :, k]), np.sqrt(sums[:, k]))
                ),
            )
        )
    return cf, blm, tuple(layers)


def _or_nothing(estimate: Callable[[], Estimate]) -> Estimate:
    """NaN if an estimator raises an error, or warns that it is inaccurate: noise of few examples
    takes few values."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", AccuracyWarning)
            return estimate()
    except (ValueError, AccuracyWarning):
        return _NOTHING
