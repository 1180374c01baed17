"""Plots over tables and images: studies by modality and year, slices of a study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.ticker import MaxNLocator

from s4s_lab.errors import NotInDataset, UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from s4s_lab.lake import Dataset

# Okabe and Ito's palette: told apart with every kind of colour vision.
_PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")
_NOT_SAID = "not said"


def timeline(studies: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw how many studies there are by year and modality, as stacked bars.

    A study with several modalities is counted once, under all of them together ("CT + SR"). Studies without a date
    are named in the title, since no bar can hold them.

    Parameters
    ----------
    studies : DataFrame
        Rows of the table `imaging_study`; `started` and `modalities` are used.
    ax : Axes, optional
        Where to draw; a new figure when None.

    Returns
    -------
    Axes

    Raises
    ------
    UsageError
        If the table lacks one of the two columns.
    """
    missing = {"started", "modalities"} - set(studies.columns)
    if missing:
        raise UsageError(f"The table has no column {min(missing)}.", hint="Pass the table imaging_study.")
    if ax is None:
        _, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
    dated = studies[studies["started"].notna()]
    counts = _counts(dated)
    base = np.zeros(len(counts))
    for number, modality in enumerate(counts.columns):
        height = counts[modality].to_numpy(dtype=float)
        colour = _PALETTE[number % len(_PALETTE)]
        ax.bar(counts.index, height, bottom=base, width=0.72, label=modality, color=colour)
        base += height
    undated = len(studies) - len(dated)
    ax.set_title(f"{len(dated)} studies by year and modality" + (f" ({undated} without a date)" if undated else ""))
    ax.set_ylabel("studies")
    ax.set_xticks(list(counts.index))
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.spines[["top", "right"]].set_visible(False)
    if len(counts.columns):
        ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax


def _counts(dated: pd.DataFrame) -> pd.DataFrame:
    """Return studies by year (index, every year in between) and modality (columns, the most frequent first)."""
    years = pd.Series([moment.year for moment in dated["started"]], dtype="int64")
    kinds = pd.Series([" + ".join(sorted(map(str, cell))) or _NOT_SAID for cell in dated["modalities"]], dtype="object")
    table = pd.crosstab(years, kinds)
    if table.empty:
        return table
    table = table.reindex(range(int(years.min()), int(years.max()) + 1), fill_value=0)
    return table[table.sum().sort_values(ascending=False, kind="stable").index]


def montage(
    data: Dataset, study_uid: str, *, series_uid: str | None = None, slices: int = 12, ax: Axes | None = None
) -> Axes:
    """Draw slices of one series side by side, in spatial order.

    Parameters
    ----------
    data : Dataset
        Holds the fetched files.
    study_uid : str
        Which study.
    series_uid : str, optional
        Which series; the one with the most images when None.
    slices : int
        How many slices at the most, evenly spread over the series.
    ax : Axes, optional
        Where to draw; a new figure when None.

    Returns
    -------
    Axes

    Raises
    ------
    NotInDataset
        If no image of the study has been fetched.
    ImageError
        If the files hold no pixels that can be shown.
    """
    rows = data.table("dicom_instance")
    rows = rows[(rows["study_uid"] == study_uid) & rows["rows"].notna()]
    if series_uid is None and len(rows):
        series_uid = str(rows["series_uid"].value_counts().index[0])
    rows = rows[rows["series_uid"] == series_uid]
    if rows.empty:
        raise NotInDataset(f"No images of study {study_uid} are here.", hint="Fetch the study first.")
    images = data.slices(str(series_uid))
    shown = [images[int(i)] for i in np.unique(np.linspace(0, len(images) - 1, min(slices, len(images))).round())]
    if ax is None:
        _, ax = plt.subplots(figsize=(7, 5), layout="constrained")
    low, high = _window(rows.iloc[0], shown)
    ax.imshow(_mosaic(shown, low), cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    ax.set_axis_off()
    ax.set_title(_caption(rows.iloc[0], len(shown), len(images)))
    return ax


def _caption(row: pd.Series, shown: int, of: int) -> str:
    words = [str(row[name]) for name in ("modality", "series_description") if pd.notna(row.get(name))]
    count = f"{shown} of {of} slices" if shown < of else f"{of} slice{'s' if of != 1 else ''}"
    return ", ".join([*words, count])


def _window(row: pd.Series, images: Sequence[npt.NDArray[np.float32]]) -> tuple[float, float]:
    """Return the grey values shown as black and white: the file's own window, else all but the outermost percent."""
    for centre, width in zip(row["window_center"], row["window_width"], strict=False):
        if width > 0:
            return float(centre - width / 2), float(centre + width / 2)
    low, high = np.percentile(np.concatenate([image.ravel() for image in images]), [1, 99])
    return float(low), float(high) if high > low else float(low) + 1.0


def _mosaic(images: Sequence[npt.NDArray[np.float32]], background: float) -> npt.NDArray[np.float32]:
    """Lay images out in a grid about as wide as high, with a gap of two pixels; shape (height, width), float32."""
    columns = int(np.ceil(np.sqrt(len(images) * 1.3)))
    height = max(image.shape[0] for image in images) + 2
    width = max(image.shape[1] for image in images) + 2
    canvas = np.full((-(-len(images) // columns) * height, columns * width), background, dtype=np.float32)
    for number, image in enumerate(images):
        top, left = number // columns * height, number % columns * width
        canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
    return canvas
