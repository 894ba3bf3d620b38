"""The sets to escape from."""

from levysde.domains.algebra import (
    Complement as Complement,
    Dilated as Dilated,
    ExitSets as ExitSets,
    Intersection as Intersection,
    entry_distance as entry_distance,
)
from levysde.domains.attraction import (
    Basin as Basin,
    Component as Component,
)
from levysde.domains.ellipsoid import Ellipsoid as Ellipsoid
from levysde.domains.implicit import (
    Predicate as Predicate,
    Sublevel as Sublevel,
    search_ray as search_ray,
)
from levysde.domains.moved import (
    Inner as Inner,
    Shifted as Shifted,
    boundary_distance as boundary_distance,
    check_boundary as check_boundary,
    pulled_back as pulled_back,
)
from levysde.domains.shapes import (
    Ball as Ball,
    Box as Box,
    ConvexShape as ConvexShape,
    HalfSpaces as HalfSpaces,
    half_space as half_space,
)
from levysde.naming import answer_wrong_calls as _answer_wrong_calls

_answer_wrong_calls(globals())
