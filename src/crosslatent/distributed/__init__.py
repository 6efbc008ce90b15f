"""A sweep on many workers: work units of it as tasks of Ray, on this machine or on a cluster.

Ray places the workers, carries work units to them and notices when one is lost; here is only what a
work unit is (`job`, `worker`), who gets the next one (`pool`), and the run folder that all of them
write to (`run`). Ray is imported when it is used: the package does without it.
"""

from __future__ import annotations

from crosslatent.distributed.cluster import LOCAL, Cluster
from crosslatent.distributed.job import Job, ModelSource
from crosslatent.distributed.run import run_on_ray

__all__ = ["LOCAL", "Cluster", "Job", "ModelSource", "run_on_ray"]
