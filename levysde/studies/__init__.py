"""Test claims by simulation: write each claim down, run sweeps, and get a verdict on each. Needs
the extra `sweep`."""

from levysde.studies.claims import Claim as Claim, Known as Known, Reading as Reading, Word as Word
from levysde.studies.page import read_verdicts as read_verdicts
from levysde.studies.run import (
    Finding as Finding,
    Section as Section,
    Study as Study,
    load_study as load_study,
    reference as reference,
    run_study as run_study,
)
from levysde.studies.verdicts import (
    Verdict as Verdict,
    all_judged as all_judged,
    detection_chance as detection_chance,
    judged as judged,
    ruled as ruled,
)
