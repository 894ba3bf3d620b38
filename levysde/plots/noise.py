"""The tail of a sample of noise with the laws fitted to it."""

from typing import TYPE_CHECKING, Any

import numpy as np

from levysde import errors, stats
from levysde.plots.style import COLOURS, LINES, axes, drawn, ink, legend
from levysde.types import Arg

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def noise(
    found: Arg[stats.NoiseClass],
    *,
    ax: "Axes | None" = None,
    label: Arg[str] = "measured",
    artist: Arg[dict[str, Any] | None] = None,
) -> "Axes":
    """Draw the share of sizes above each size, with the laws of `stats.noise_class`: the likeliest
    one as a solid line, two others, and the Gaussian one.

    A power tail is straight, a Gaussian one falls ever faster, and one that is clipped or truncated
    ends at a size that nothing passes.

    Args:
        found: a `NoiseClass`, from `stats.noise_class(x)`.
        ax: axes to draw on; a new figure by default.
        label: name of the sample in the legend.
        artist: keywords for the measured points, as for `Axes.plot`, for example `{"color": "k"}`.

    Returns:
        The axes, both logarithmic.

    Raises:
        TypeError: `found` is not a `NoiseClass`, or arguments of another kind.
        ValueError: what matplotlib has against `artist`.
    """
    errors.instance("found", found, stats.NoiseClass, "plots.noise(stats.noise_class(x))")
    ax = axes(ax, artist, label=label)
    size, share = found.size, found.share
    drawn(
        ax.plot,
        size,
        np.where(share > 0, share, np.nan),
        artist=artist,
        color=ink(ax),
        linestyle="none",
        marker="o",
        markersize=3.5,
        label=f"{label}, {found.num_values:,} steps",
    )
    gaussian = [fit for fit in found.fits[3:] if fit.name == "Gaussian" and not fit.ending]
    for number, fit in enumerate([*found.fits[:3], *gaussian]):
        ax.plot(
            size,
            np.where(fit.survival > 0, fit.survival, np.nan),
            color=COLOURS[number],
            linestyle=LINES[number],
            linewidth=2.0 if number == 0 else 1.4,
            label=_named(fit),
        )
    bottom = share[share > 0].min(initial=1.0) / 2
    far = size[share < 0.95]  # sizes near 0 are the same in all laws
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="norm r" if found.norms else "size r, distance from the median",
        ylabel="share above r",
        title=found.name,
    )
    ax.set_ylim(bottom, 1.3)
    ax.set_xlim(0.9 * far.min(initial=size.max()), 1.15 * size.max())
    legend(ax)
    return ax


def _named(fit: stats.NoiseFit) -> str:
    """The law with the numbers that give its shape."""
    shape = {k: v for k, v in fit.parameters.items() if k not in ("scale", "dimension", "end")}
    return ", ".join([fit.label, *(f"{name} {value:.3g}" for name, value in shape.items())])
