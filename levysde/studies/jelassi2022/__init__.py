"""Jelassi and Li, ICML 2022: momentum learns the feature of small-margin examples that gradient descent memorises."""

from levysde.studies.jelassi2022 import adam, batches, overshoot, real, threshold, toy
from levysde.studies.study import Study

STUDY = Study(
    "jelassi2022",
    "Jelassi and Li, Towards understanding how momentum improves generalization in deep learning, ICML 2022",
    (toy.SECTION, overshoot.SECTION, threshold.SECTION, batches.SECTION, adam.SECTION, real.SECTION),
)
