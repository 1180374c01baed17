"""What each kind of examination consists of: its series, slices and codes."""

from __future__ import annotations

from dataclasses import dataclass

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
CR = "1.2.840.10008.5.1.4.1.1.1"
US = "1.2.840.10008.5.1.4.1.1.6.1"
MG = "1.2.840.10008.5.1.4.1.1.1.2"
NM = "1.2.840.10008.5.1.4.1.1.20"


@dataclass(frozen=True)
class SeriesProtocol:
    """One series.

    Parameters
    ----------
    description : str
        Series Description.
    picture : str
        Which phantom is seen, such as `head T1`.
    rows, columns : int
        Size of an image.
    window : (float, float)
        Window centre and width.
    heights_mm : tuple of float
        Height of each slice, for slices [mm].
    views : tuple of str
        Name of each image, for what has no slices.
    """

    description: str
    picture: str
    rows: int
    columns: int
    window: tuple[float, float]
    heights_mm: tuple[float, ...] = ()
    views: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self.heights_mm) or len(self.views)


@dataclass(frozen=True)
class Protocol:
    """One kind of examination.

    Parameters
    ----------
    modality : str
        DICOM modality.
    sop_class_uid : str
        Of every image.
    title : str
        Study Description.
    body_part : str
        Body Part Examined.
    procedure : str
        Billing code of the examination.
    loinc : str
        LOINC code of its report.
    price : int
        What is charged [USD].
    series : tuple of SeriesProtocol
        In order.
    """

    modality: str
    sop_class_uid: str
    title: str
    body_part: str
    procedure: str
    loinc: str
    price: int
    series: tuple[SeriesProtocol, ...]


def _heights(low: float, high: float, step: float) -> tuple[float, ...]:
    return tuple(low + step * number for number in range(round((high - low) / step) + 1))


_HEAD_CT, _HEAD_MR = _heights(-34, 86, 6), _heights(-30, 78, 9)
_CHEST, _CHEST_THICK = _heights(-110, 130, 12), _heights(-100, 116, 24)
_BELLY, _BELLY_MR = _heights(-110, 94, 12), _heights(-82, 92, 14.5)

PROTOCOLS = {
    "CT head": Protocol(
        "CT", CT, "CT head without contrast", "HEAD", "70450", "30799-1", 1180,
        (SeriesProtocol("Brain 6 mm", "head CT", 128, 128, (40, 90), _HEAD_CT),),
    ),
    "MR head": Protocol(
        "MR", MR, "MR brain", "BRAIN", "70551", "24590-2", 1940,
        (
            SeriesProtocol("T1 axial", "head T1", 128, 128, (340, 700), _HEAD_MR),
            SeriesProtocol("T2 axial", "head T2", 128, 128, (480, 1000), _HEAD_MR),
            SeriesProtocol("FLAIR axial", "head FLAIR", 128, 128, (400, 820), _HEAD_MR),
        ),
    ),
    "CT chest": Protocol(
        "CT", CT, "CT chest with contrast", "CHEST", "71260", "24628-0", 1420,
        (
            SeriesProtocol("Mediastinum 12 mm", "chest", 128, 128, (50, 400), _CHEST),
            SeriesProtocol("Lung 24 mm", "chest", 128, 128, (-500, 1500), _CHEST_THICK),
        ),
    ),
    "CR chest": Protocol(
        "CR", CR, "Chest PA and lateral", "CHEST", "71046", "42272-5", 160,
        (
            SeriesProtocol("PA", "radiograph", 128, 128, (2048, 4096), views=("PA",)),
            SeriesProtocol("Lateral", "radiograph", 128, 128, (2048, 4096), views=("LL",)),
        ),
    ),
    "CT abdomen": Protocol(
        "CT", CT, "CT abdomen with contrast", "ABDOMEN", "74160", "30621-7", 1510,
        (SeriesProtocol("Portal venous 12 mm", "abdomen", 128, 128, (60, 380), _BELLY),),
    ),
    "MR abdomen": Protocol(
        "MR", MR, "MR liver", "ABDOMEN", "74181", "24556-3", 2060,
        (SeriesProtocol("T2 axial", "abdomen T2", 128, 128, (420, 900), _BELLY_MR),),
    ),
    "US abdomen": Protocol(
        "US", US, "Ultrasound abdomen", "ABDOMEN", "76700", "24558-9", 390,
        (
            SeriesProtocol("Liver", "ultrasound", 128, 128, (128, 256), views=("liver", "liver long")),
            SeriesProtocol("Kidneys", "ultrasound", 128, 128, (128, 256), views=("kidney", "kidney left")),
        ),
    ),
    "US breast": Protocol(
        "US", US, "Ultrasound breast", "BREAST", "76641", "26214-7", 310,
        (SeriesProtocol("Left breast", "ultrasound", 128, 128, (128, 256), views=("breast", "breast radial")),),
    ),
    "MG screening": Protocol(
        "MG", MG, "Mammography, both breasts", "BREAST", "77067", "36625-2", 280,
        (
            SeriesProtocol("CC", "mammogram", 128, 96, (1400, 2800), views=("R CC", "L CC")),
            SeriesProtocol("MLO", "mammogram", 128, 96, (1400, 2800), views=("R MLO", "L MLO")),
        ),
    ),
    "NM bone": Protocol(
        "NM", NM, "Bone scan, whole body", "WHOLEBODY", "78306", "39820-6", 870,
        (SeriesProtocol("Whole body", "bone scan", 128, 64, (35, 70), views=("ANT", "POST")),),
    ),
}  # fmt: skip
