"""The sets to escape from."""

from levysde.domains.implicit import Predicate as Predicate
from levysde.domains.implicit import Sublevel as Sublevel
from levysde.domains.implicit import search_ray as search_ray
from levysde.domains.shapes import Ball as Ball
from levysde.domains.shapes import Box as Box
