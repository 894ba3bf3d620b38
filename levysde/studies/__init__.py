"""The papers under test: claims, the runs that test them, verdicts. Needs the extra `sweep`."""

from levysde.studies.claims import Claim as Claim
from levysde.studies.claims import Reading as Reading
from levysde.studies.study import STUDIES as STUDIES
from levysde.studies.study import Finding as Finding
from levysde.studies.study import Section as Section
from levysde.studies.study import Study as Study
from levysde.studies.study import find_study as find_study
from levysde.studies.study import run_study as run_study
from levysde.studies.verdicts import Verdict as Verdict
from levysde.studies.verdicts import all_judged as all_judged
from levysde.studies.verdicts import detection_chance as detection_chance
from levysde.studies.verdicts import judged as judged
from levysde.studies.verdicts import read_verdicts as read_verdicts
from levysde.studies.verdicts import ruled as ruled
