"""The dataset: an append-only log of what was received, tables derived from it, watermarks, a ledger (Delta Lake)."""

from s4s_lab.lake.connections import ConnectionRecord
from s4s_lab.lake.dataset import Dataset, open_dataset
from s4s_lab.lake.findings import Problem, VerifyReport
from s4s_lab.lake.forgetting import ForgetReport
from s4s_lab.lake.ledger import Ledger, PullRow
from s4s_lab.lake.log import CurrentVersion, ResourceLog
from s4s_lab.lake.staging import ResourceVersion, Stage, StagedVersions

__all__ = [
    "ConnectionRecord",
    "CurrentVersion",
    "Dataset",
    "ForgetReport",
    "Ledger",
    "Problem",
    "PullRow",
    "ResourceLog",
    "ResourceVersion",
    "Stage",
    "StagedVersions",
    "VerifyReport",
    "open_dataset",
]
