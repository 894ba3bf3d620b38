"""Jelassi and Li, ICML 2022: momentum learns the feature of small-margin examples that gradient
descent memorises."""

from levysde.studies import Study

from . import adam, batches, overshoot, real, threshold, toy

STUDY = Study(
    "jelassi2022",
    "Jelassi and Li, Towards understanding how momentum improves generalization in deep learning, "
    "ICML 2022",
    (
        toy.SECTION,
        overshoot.SECTION,
        threshold.SECTION,
        batches.SECTION,
        adam.SECTION,
        real.SECTION,
    ),
)
