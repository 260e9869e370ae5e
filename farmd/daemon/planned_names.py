"""What the ids of planned work mean, in the problems that the daemon makes and in the plans for them.

`J-7` stands for plates still to be made up for a job, `B-12` for a build that is queued already, `J-7/3x8` for the
third bundle of a job's missing powder parts, eight of them; `J-7#2` is the second run of J-7. Pure.
"""

from __future__ import annotations


def job_of_part(part_id: str) -> str:
    return part_id.partition("/")[0]


def pieces_of_part(part_id: str) -> int:
    """`J-7/3x8` stands for eight parts."""
    return int(part_id.rpartition("x")[2])


def work_of_run(run_name: str) -> str:
    """`J-7#2` and `B-12#1` to the job or build they stand for."""
    return run_name.partition("#")[0]
