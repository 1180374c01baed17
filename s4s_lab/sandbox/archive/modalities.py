"""What the header of each modality's images carries, as DICOM PS3.3, annex A asks."""

from __future__ import annotations

from collections.abc import Callable

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from s4s_lab.sandbox.archive.people import uid
from s4s_lab.sandbox.archive.protocols import SeriesProtocol
from s4s_lab.sandbox.phantoms import planar
from s4s_lab.sandbox.phantoms.head import FIELD_MM as HEAD_MM
from s4s_lab.sandbox.phantoms.trunk import FIELD_MM as TRUNK_MM

# Scanning sequence, echo and repetition times [ms].
_SEQUENCES = {"T1": ("SE", 14, 520), "T2": ("SE", 98, 4200), "FLAIR": ("IR", 120, 9000)}


def describe(dataset: Dataset, series: SeriesProtocol, number: int) -> None:
    """Add what an image of its modality carries.

    Parameters
    ----------
    dataset : Dataset
        With what all files share; its Modality decides.
    series : SeriesProtocol
        The series.
    number : int
        Which image of it, from 0.
    """
    if series.heights_mm:
        _place(dataset, series, number)
    _BY_MODALITY[dataset.Modality](dataset, series, series.views[number] if series.views else "")


def _code(value: str, meaning: str, scheme: str = "SCT") -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def _frame_of_reference(dataset: Dataset) -> None:
    dataset.FrameOfReferenceUID = uid(dataset.StudyInstanceUID, "frame")
    dataset.PositionReferenceIndicator = ""


def _place(dataset: Dataset, series: SeriesProtocol, number: int) -> None:
    """Place a slice in the patient: to the left, backward, upward [mm]."""
    field_mm = HEAD_MM if series.picture.startswith("head") else TRUNK_MM
    spacing = field_mm / series.rows
    corner = round(spacing / 2 - field_mm / 2, 6)
    _frame_of_reference(dataset)
    dataset.PixelSpacing = [round(spacing, 6)] * 2
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.ImagePositionPatient = [corner, corner, series.heights_mm[number]]
    dataset.SliceLocation = series.heights_mm[number]
    dataset.SliceThickness = dataset.SpacingBetweenSlices = series.heights_mm[1] - series.heights_mm[0]
    dataset.PatientPosition = "HFS"


def _computed_tomography(dataset: Dataset, series: SeriesProtocol, _: str) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.AcquisitionNumber = 1
    dataset.KVP, dataset.ConvolutionKernel = 120, "LUNG" if series.description.startswith("Lung") else "STANDARD"
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = -1024, 1, "HU"


def _magnetic_resonance(dataset: Dataset, series: SeriesProtocol, _: str) -> None:
    scan, echo, repetition = _SEQUENCES[series.picture.split()[1]]
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    dataset.ScanningSequence, dataset.SequenceVariant, dataset.ScanOptions = scan, "NONE", ""
    dataset.MRAcquisitionType, dataset.MagneticFieldStrength = "2D", 1.5
    dataset.EchoTime, dataset.RepetitionTime, dataset.EchoTrainLength = echo, repetition, 1
    if scan == "IR":
        dataset.InversionTime = 2500


def _computed_radiography(dataset: Dataset, series: SeriesProtocol, view: str) -> None:
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.ViewPosition, dataset.PlateType = view, ""
    # The image shows the patient's front as one who stands before it sees it.
    dataset.PatientOrientation = ["L", "F"] if view == "PA" else ["P", "F"]
    dataset.ImagerPixelSpacing = [round(TRUNK_MM / series.rows, 6)] * 2


def _mammography(dataset: Dataset, series: SeriesProtocol, view: str) -> None:
    side, projection = view.split()
    code = _code("399162004", "cranio-caudal") if projection == "CC" else _code("399368009", "medio-lateral oblique")
    code.ViewModifierCodeSequence = Sequence()
    dataset.ImageType = ["DERIVED", "PRIMARY", ""]
    dataset.ViewCodeSequence = Sequence([code])
    dataset.AnatomicRegionSequence = Sequence([_code("76752008", "Breast")])
    dataset.AcquisitionContextSequence = Sequence()
    dataset.ImageLaterality, dataset.ViewPosition = side, projection
    away, down = ("A" if side == "R" else "P"), ("L" if side == "R" else "R") if projection == "CC" else "F"
    dataset.PatientOrientation = [away, down]
    dataset.PresentationIntentType, dataset.PresentationLUTShape = "FOR PRESENTATION", "IDENTITY"
    dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LOG", -1
    dataset.ImagerPixelSpacing = [planar.BREAST_MM[0] / series.rows, round(planar.BREAST_MM[1] / series.columns, 6)]
    dataset.DetectorType, dataset.PositionerType = "DIRECT", "MAMMOGRAPHIC"
    dataset.OrganExposed, dataset.BurnedInAnnotation, dataset.LossyImageCompression = "BREAST", "NO", "00"
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"


def _ultrasound(dataset: Dataset, series: SeriesProtocol, _: str) -> None:
    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, 0
    region.RegionLocationMinX0 = region.RegionLocationMinY0 = 0
    region.RegionLocationMaxX1 = region.RegionLocationMaxY1 = series.rows - 1
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    # In cm, as the units say.
    region.PhysicalDeltaX = region.PhysicalDeltaY = planar.SECTOR_MM / series.rows / 10
    dataset.SequenceOfUltrasoundRegions = Sequence([region])
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.PatientOrientation = ""
    dataset.UltrasoundColorDataPresent = 0
    dataset.LossyImageCompression = "00"
    if series.description == "Left breast":
        dataset.Laterality = "L"


def _gamma_camera(dataset: Dataset, series: SeriesProtocol, view: str) -> None:
    _frame_of_reference(dataset)
    window, drug = Dataset(), Dataset()
    window.EnergyWindowName = "Tc99m"
    drug.Radiopharmaceutical, drug.RadionuclideCodeSequence = "Tc99m medronate", Sequence([_code("72454007", "Tc99m")])
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "WHOLE BODY", "EMISSION"]
    dataset.NumberOfFrames = 1
    dataset.FrameIncrementPointer = [0x00540010, 0x00540020]
    dataset.EnergyWindowVector, dataset.NumberOfEnergyWindows = 1, 1
    dataset.DetectorVector, dataset.NumberOfDetectors = 1, 1
    dataset.EnergyWindowInformationSequence = Sequence([window])
    dataset.RadiopharmaceuticalInformationSequence = Sequence([drug])
    dataset.DetectorInformationSequence = Sequence([_detector(view)])
    dataset.PatientOrientationCodeSequence = Sequence([_code("102538003", "recumbent")])
    dataset.PatientGantryRelationshipCodeSequence = Sequence([_code("102540008", "headfirst")])
    dataset.CountsAccumulated, dataset.ActualFrameDuration = "", 720_000
    dataset.ScanVelocity, dataset.ScanLength = round(planar.BODY_MM[0] / 720, 3), int(planar.BODY_MM[0])
    dataset.PixelSpacing = [planar.BODY_MM[0] / series.rows, planar.BODY_MM[1] / series.columns]
    dataset.ImageComments = "anterior" if view == "ANT" else "posterior"


def _detector(view: str) -> Dataset:
    detector = Dataset()
    detector.CollimatorType = "PARA"
    # Required, but empty: a planar view has no place in the patient.
    detector.ImageOrientationPatient = detector.ImagePositionPatient = None
    detector.ViewCodeSequence = Sequence(
        [_code("272479007", "Posterior") if view == "POST" else _code("255549009", "Anterior")]
    )
    return detector


_BY_MODALITY: dict[str, Callable[[Dataset, SeriesProtocol, str], None]] = {
    "CT": _computed_tomography,
    "MR": _magnetic_resonance,
    "CR": _computed_radiography,
    "MG": _mammography,
    "US": _ultrasound,
    "NM": _gamma_camera,
}
