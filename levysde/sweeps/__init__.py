"""Sweeps: thousands of settings from one file, run anywhere, into one labelled store. Needs the
extra `sweep`."""

import levysde.sweeps._extra  # noqa: F401  (first: it names the extra where that is missing)
from levysde.sweeps.driver import Tally as Tally
from levysde.sweeps.driver import run_sweep as run_sweep
from levysde.sweeps.escape_run import EscapeRun as EscapeRun
from levysde.sweeps.experiment import Experiment as Experiment
from levysde.sweeps.experiment import Job as Job
from levysde.sweeps.experiment import Model as Model
from levysde.sweeps.experiment import Variable as Variable
from levysde.sweeps.experiment import Work as Work
from levysde.sweeps.experiment import register as register
from levysde.sweeps.fits import ScalingFit as ScalingFit
from levysde.sweeps.main_job import MainJob as MainJob
from levysde.sweeps.main_job import MainJobSettings as MainJobSettings
from levysde.sweeps.main_job import main_job_spec as main_job_spec
from levysde.sweeps.main_job_report import main_job_report as main_job_report
from levysde.sweeps.place import BusyError as BusyError
from levysde.sweeps.place import Place as Place
from levysde.sweeps.plan import Plan as Plan
from levysde.sweeps.plan import make_plan as make_plan
from levysde.sweeps.report import write_report as write_report
from levysde.sweeps.spec import Spec as Spec
from levysde.sweeps.spec import SpecError as SpecError
from levysde.sweeps.spec import read_spec as read_spec
from levysde.sweeps.status import SweepEstimate as SweepEstimate
from levysde.sweeps.status import SweepStatus as SweepStatus
from levysde.sweeps.status import estimate as estimate
from levysde.sweeps.status import sweep_status as sweep_status
from levysde.sweeps.store import Store as Store
from levysde.sweeps.store import StoreError as StoreError
from levysde.sweeps.store import versions as versions
from levysde.sweeps.sweep import Sweep as Sweep
from levysde.sweeps.sweep import open_sweep as open_sweep
from levysde.sweeps.sweep import scaling_fits as scaling_fits

register(EscapeRun())
register(MainJob())
