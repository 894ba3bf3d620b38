"""Sweeps: thousands of settings from one file, run anywhere, into one labelled store. Needs the
extra `sweep`."""

import levysde.sweeps._extra  # noqa: F401  (first: it names the extra where that is missing)
from levysde.sweeps.driver import Tally as Tally, run_sweep as run_sweep
from levysde.sweeps.escape_run import EscapeRun as EscapeRun
from levysde.sweeps.experiment import (
    Experiment as Experiment,
    Job as Job,
    Model as Model,
    Variable as Variable,
    Work as Work,
    register as register,
)
from levysde.sweeps.fits import ScalingFit as ScalingFit
from levysde.sweeps.main_job import (
    MainJob as MainJob,
    MainJobSettings as MainJobSettings,
    main_job_spec as main_job_spec,
)
from levysde.sweeps.main_job_report import main_job_report as main_job_report
from levysde.sweeps.place import BusyError as BusyError, Place as Place
from levysde.sweeps.plan import Plan as Plan, make_plan as make_plan
from levysde.sweeps.report import write_report as write_report
from levysde.sweeps.spec import Spec as Spec, SpecError as SpecError, read_spec as read_spec
from levysde.sweeps.status import (
    SweepEstimate as SweepEstimate,
    SweepStatus as SweepStatus,
    estimate as estimate,
    sweep_status as sweep_status,
)
from levysde.sweeps.store import Store as Store, StoreError as StoreError, versions as versions
from levysde.sweeps.sweep import (
    Sweep as Sweep,
    open_sweep as open_sweep,
    scaling_fits as scaling_fits,
)

register(EscapeRun())
register(MainJob())
