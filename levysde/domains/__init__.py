"""The sets to escape from."""

from levysde.domains.algebra import Complement as Complement
from levysde.domains.algebra import Dilated as Dilated
from levysde.domains.algebra import ExitSets as ExitSets
from levysde.domains.algebra import Intersection as Intersection
from levysde.domains.algebra import entry_distance as entry_distance
from levysde.domains.attraction import Basin as Basin
from levysde.domains.attraction import Component as Component
from levysde.domains.ellipsoid import Ellipsoid as Ellipsoid
from levysde.domains.implicit import Predicate as Predicate
from levysde.domains.implicit import Sublevel as Sublevel
from levysde.domains.implicit import search_ray as search_ray
from levysde.domains.moved import Inner as Inner
from levysde.domains.moved import Shifted as Shifted
from levysde.domains.moved import boundary_distance as boundary_distance
from levysde.domains.moved import check_boundary as check_boundary
from levysde.domains.moved import pulled_back as pulled_back
from levysde.domains.shapes import Ball as Ball
from levysde.domains.shapes import Box as Box
from levysde.domains.shapes import ConvexShape as ConvexShape
from levysde.domains.shapes import HalfSpaces as HalfSpaces
from levysde.domains.shapes import half_space as half_space
from levysde.naming import answer_wrong_calls as _answer_wrong_calls

_answer_wrong_calls(globals())
