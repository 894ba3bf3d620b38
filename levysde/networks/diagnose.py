"""Diagnosis of a custom model near a minimum: noise, curvature, tails, basin and escapes.

The basin is the sublevel set `F < F(point) + height`. Its default height is a tenth of the standard
deviation of the examples' losses. This rise is small compared with the differences between
examples, and it does not depend on the unit or the zero of the loss.

The law is that of SGD's SDE at the given learning rate, with the scale S measured in each
coordinate, `A = S`; and of ADAM's, with the preconditioner at rest,
`A = S / (sqrt(diag C_B) + delta)` (Zhou et al., NeurIPS 2020; `levysde.theory.exit_law`). Then
`rate = epsilon^a T_nu m(W)` in SDE time, where one iteration takes `learning_rate`.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from levysde.landscapes import in_float64
from levysde.networks.curvature import DENSE, spectrum
from levysde.networks.diagnose_input import Request, as_optimizer, as_request
from levysde.networks.diagnosis import Diagnosis
from levysde.networks.diagnosis_warnings import find_warnings
from levysde.networks.escapes import expected_iterations, held_up, predicted_escapes, simulate
from levysde.networks.gradient_covariance import alignment, gradient_covariance
from levysde.networks.point_measures import measure_basin, measure_noise
from levysde.networks.products import Products
from levysde.types import Arg, Integer, Number, Seed

if TYPE_CHECKING:
    import optax

_NO_BASIN = "the point is not near a minimum, so there is no basin to leave (see the warnings)"


def diagnose(
    loss_fn: Arg[Callable[..., Any] | None],
    params: Arg[Any],
    data: Arg[Any],
    *,
    batch_size: Arg[Integer],
    optimizer: Arg["Literal['sgd', 'adam'] | optax.GradientTransformation"] = "sgd",
    learning_rate: Arg[Number | None] = None,
    weight_decay: Arg[Number] = 0.0,
    batched: Arg[bool] = False,
    alpha: Arg[Number | None] = None,
    stable_noise: Arg[Literal["components", "isotropic"]] = "components",
    basin_height: Arg[Number | None] = None,
    settle: Arg[Integer] = 0,
    delta: Arg[Number] = 1e-8,
    num_batches: Arg[Integer] = 2000,
    num_eigenvalues: Arg[Integer] = 10,
    num_probes: Arg[Integer] = 64,
    num_rays: Arg[Integer] = 256,
    num_escapes: Arg[Integer] = 100,
    memory_budget: Arg[Number] = 4.0,
    time_budget: Arg[Number] = 120.0,
    confidence: Arg[Number] = 0.95,
    seed: Arg[Seed] = 0,
) -> Diagnosis:
    """Measure a network's gradient noise and curvature at a point, and how its optimiser escapes
    from the basin around it.

        import jax, jax.numpy as jnp, levysde as ls
        from sklearn.datasets import load_digits
        images, labels = load_digits(return_X_y=True)
        def loss_fn(params, image, label):  # of one example
            logits = jnp.tanh(image @ params["w"]) @ params["v"]
            return jax.nn.logsumexp(logits) - logits[label]
        params = {"w": jax.random.normal(jax.random.key(0), (64, 16)) / 8, "v": jnp.zeros((16, 10))}
        network = ls.from_network(loss_fn, params, images / 16, labels, weight_decay=0.01)
        trained = ls.networks.train(network, learning_rate=0.3, batch_size=1797, epochs=500)
        report = ls.diagnose(
            loss_fn, trained, (images / 16, labels), batch_size=32, learning_rate=0.1,
            weight_decay=0.01, settle=1000,
        )
        print(report)  # a table; ls.plots.diagnosis(report) draws it

    Args:
        loss_fn: `loss_fn(params, input, target) -> scalar` for one example, or with `batched=True`
            for many at once, as in `from_network`; `loss_fn(params, input)` if `data` is one array.
        params: any pytree of real arrays, or one array `(d,)`; near a minimum of the loss with its
            weight decay.
        data: `(inputs, targets)`, whose leading axes are the n examples; or one array.
        batch_size: number of different examples in a minibatch, less than n.
        optimizer: "sgd", "adam" (betas 0.9 and 0.999), or an optax `GradientTransformation` with
            its own learning rate. Simulated escapes run this optimiser. Escape times are predicted
            for SGD and ADAM given by name, and for a transformation that is plain SGD, for example
            `optax.sgd(0.1)`; no law is known for others.
        learning_rate: learning rate of the law, and of an optimiser given by name. Without it, no
            escape times are predicted.
        weight_decay: adds `weight_decay |x|^2 / 2` to the loss.
        batched: whether `loss_fn` takes all examples at once.
        alpha: stability index of the law, below 2. By default the measured one, clipped to 0.5 to
            1.95, with a warning: minibatch noise of finite data is bounded and mostly near
            Gaussian.
        stable_noise: "components", independent in each coordinate, or "isotropic".
        basin_height: height of the basin `F < F(params) + height`, in units of the loss. By default
            a tenth of the standard deviation of the examples' losses.
        settle: largest number of L-BFGS steps over all data that first move the point to its
            minimum; 0 keeps the point. The report's `landscape.minimum` is the point reached.
        delta: the number that ADAM adds to `sqrt(v)`, in units of the gradient (optax: `eps`).
        num_batches: minibatches drawn for the tail index and the scale, at least 400.
        num_eigenvalues: number of eigenvalues of the Hessian and of the covariance.
        num_probes: random sign vectors for trace and diagonal of the Hessian, and examples drawn
            for the alignment.
        num_rays: number of coordinates along which the basin is measured, in both directions (all
            coordinates if there are fewer); number of directions for isotropic noise.
        num_escapes: trajectories of the real optimiser; 0 for none.
        memory_budget: GiB that the computation may take beyond Python, JAX, data and parameters.
            The examples are processed in blocks that fit.
        time_budget: seconds for simulated escapes, estimated from one timed iteration; it bounds
            the iterations of each. If the predicted mean is longer, or unknown, a tenth of it is
            used for 16 pilot trajectories. If none of them leaves, the escapes are left out, and
            the table says so. Nothing else depends on it.
        confidence: coverage of all intervals.
        seed: seed of all random numbers.

    Returns:
        A `Diagnosis`. It prints as a table, and `plots.diagnosis` draws it. Escape times are in
        iterations.

    Raises:
        TypeError: a loss that is not one of single examples or not written with jax.numpy,
            parameters that are not real arrays, data that are not arrays, an optimiser of another
            kind or with a state of other things than arrays.
        ValueError: inputs and targets of different lengths, a batch not smaller than the data, a
            loss that mixes examples or is not finite, no noise at all, a model that needs more than
            the memory budget, numbers out of range.
    """
    request = as_request(
        loss_fn,
        params,
        data,
        batch_size=batch_size,
        optimizer=optimizer,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        batched=batched,
        alpha=alpha,
        stable_noise=stable_noise,
        basin_height=basin_height,
        settle=settle,
        delta=delta,
        num_batches=num_batches,
        num_eigenvalues=num_eigenvalues,
        num_probes=num_probes,
        num_rays=num_rays,
        num_escapes=num_escapes,
        memory_budget=memory_budget,
        time_budget=time_budget,
        confidence=confidence,
        seed=seed,
    )
    if request.settle:
        request = _settled(request, optimizer)
    return _run(request)


class _Clock:
    """Wall-clock seconds of each part."""

    def __init__(self):
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)


def _run(request: Request) -> Diagnosis:
    clock, landscape = _Clock(), request.landscape
    held, limit = request.memory()
    seeds = [int(s) for s in np.random.SeedSequence(request.seed).generate_state(7)]
    wide = landscape.dim <= DENSE
    precise: Any
    with in_float64(landscape) if wide else nullcontext(landscape) as precise:
        with clock.part("products"):
            model = Products(precise, limit)
        with clock.part("hessian"):
            hessian = spectrum(
                model.hessian,
                model.dim,
                request.num_eigenvalues,
                request.num_probes,
                seeds[0],
                request.confidence,
            )
        with clock.part("noise"):
            noise = measure_noise(request, model, seeds[1])
            covariance = gradient_covariance(
                model.covariance,
                noise.variance,
                model.gradient,
                landscape.num_examples,
                request.num_eigenvalues,
                seeds[2],
                request.confidence,
            )
            aligned = alignment(
                hessian,
                covariance,
                model.covariance,
                model.example_curvature(),
                request.num_probes if not wide else landscape.num_examples,
                seeds[3],
                request.confidence,
            )
        with clock.part("basin"):
            basin = measure_basin(request, model, hessian, noise, seeds[4])
    predictions = predicted_escapes(request, basin.measures, basin.alpha)
    with clock.part("escapes"):
        if basin.measures:
            expected = expected_iterations(request, predictions)
            simulated, left_out, lift = simulate(request, basin.height, expected, limit, seeds[5])
        else:
            simulated, left_out, lift = None, _NO_BASIN, float("nan")
    factor = covariance.batch_factor(request.batch_size)
    known = held_up(request, aligned, noise.batch_variance, factor)
    report = Diagnosis(
        landscape=landscape,
        layers=request.layers,
        loss=model.loss,
        loss_spread=basin.loss_spread,
        gradient_norm=float(np.linalg.norm(model.slope)),
        descent=basin.descent,
        hessian=hessian,
        covariance=covariance,
        alignment=aligned,
        tails=noise.tails,
        kink=basin.kink,
        excess=lift if np.isnan(known) else known,
        alpha=basin.alpha,
        measured=request.alpha is None,
        stable_noise=request.stable_noise,
        height=basin.height,
        measures=basin.measures,
        predictions=predictions,
        simulated=simulated,
        left_out=left_out,
        optimizer=request.optimizer,
        learning_rate=request.learning_rate,
        batch_size=request.batch_size,
        delta=request.delta,
        warnings=(),
        seconds=clock.seconds,
        memory_bytes=held + model.needs,
    )
    return replace(report, warnings=find_warnings(report, request))


def _settled(request: Request, optimizer: Any) -> Request:
    """The request at a point that is moved by L-BFGS."""
    _, limit = request.memory()
    net = request.landscape
    precise: Any
    with in_float64(net) if net.dim <= DENSE else nullcontext(net) as precise:
        x, _ = Products(precise, limit).descend(request.settle)
    net = net.at(x)
    _, kernel, _ = as_optimizer(
        optimizer, net, request.learning_rate, request.batch_size, request.delta
    )
    return replace(request, landscape=net, kernel=kernel)
