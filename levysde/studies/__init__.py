"""Test claims by simulation: write each claim down, run sweeps, and get a verdict on each. Needs
the extra `sweep`."""

from levysde.studies.claims import Claim as Claim
from levysde.studies.claims import Known as Known
from levysde.studies.claims import Reading as Reading
from levysde.studies.claims import Word as Word
from levysde.studies.page import read_verdicts as read_verdicts
from levysde.studies.run import Finding as Finding
from levysde.studies.run import Section as Section
from levysde.studies.run import Study as Study
from levysde.studies.run import load_study as load_study
from levysde.studies.run import reference as reference
from levysde.studies.run import run_study as run_study
from levysde.studies.verdicts import Verdict as Verdict
from levysde.studies.verdicts import all_judged as all_judged
from levysde.studies.verdicts import detection_chance as detection_chance
from levysde.studies.verdicts import judged as judged
from levysde.studies.verdicts import ruled as ruled
