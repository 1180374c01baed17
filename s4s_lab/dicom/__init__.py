"""WADO-RS into a verified cache: multipart streams, DICOM headers as a table, slices in order."""

from s4s_lab.dicom.address import archive_key, study_url
from s4s_lab.dicom.cache import DicomCache
from s4s_lab.dicom.columns import instance_schema
from s4s_lab.dicom.eviction import Evicted, note_use
from s4s_lab.dicom.index import CachedStudy
from s4s_lab.dicom.multipart import Limits, MultipartParser, PartSink
from s4s_lab.dicom.resume import DeclaredSeries
from s4s_lab.dicom.retrieve import Retrieval, StudyRequest, retrieve_study
from s4s_lab.dicom.slices import Slices
from s4s_lab.dicom.volumes import Volume, read_volume

__all__ = [
    "CachedStudy",
    "DeclaredSeries",
    "DicomCache",
    "Evicted",
    "Limits",
    "MultipartParser",
    "PartSink",
    "Retrieval",
    "Slices",
    "StudyRequest",
    "Volume",
    "archive_key",
    "instance_schema",
    "note_use",
    "read_volume",
    "retrieve_study",
    "study_url",
]
