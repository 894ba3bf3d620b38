"""Zhou, Feng, Ma, Xiong, Hoi, E, "Towards theoretically understanding why SGD generalizes better
than ADAM in deep learning", NeurIPS 2020."""

from levysde.studies import Study

from . import basins, law, model, ordering, scaling, tails, wells

STUDY = Study(
    "zhou2020",
    "Zhou, Feng, Ma, Xiong, Hoi, E, Towards theoretically understanding why SGD generalizes "
    "better than ADAM in deep learning, NeurIPS 2020",
    (
        law.SECTION,
        basins.SECTION,
        scaling.SECTION,
        ordering.SECTION,
        tails.SECTION,
        wells.SECTION,
        model.SECTION,
    ),
)
