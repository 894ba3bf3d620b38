"""Xie, Sato, Sugiyama, "A diffusion theory for deep learning dynamics: stochastic gradient descent
exponentially favors flat minima", ICLR 2021, and for momentum and ADAM Xie et al., ICML 2022."""

from levysde.studies import Study

from . import alignment, minibatches, optimizers, prefactor, selection, styblinski, white

STUDY = Study(
    "xie2021",
    "Xie, Sato, Sugiyama, A diffusion theory for deep learning dynamics, ICLR 2021; Xie et al., "
    "ICML 2022",
    (
        white.SECTION,
        styblinski.SECTION,
        minibatches.SECTION,
        alignment.SECTION,
        prefactor.SECTION,
        optimizers.SECTION,
        selection.SECTION,
    ),
)
