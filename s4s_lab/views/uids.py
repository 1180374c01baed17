"""DICOM UIDs in whole columns: bare, and checked."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from s4s_lab.values.uids import MAX_LENGTH

_UID = r"^[0-9]+(?:\.[0-9]+)*$"
_PREFIX = "urn:oid:"
_DOT, _SLASH, _ZERO, _NINE = map(ord, "./09")
_TWO_DOTS = np.frombuffer(b"..", np.uint16)[0]
# Bytes that are looked at together: they stay in the processor's cache.
_PIECE = 1 << 16


def bare_uids(texts: pa.Array) -> tuple[pa.Array, list[int]]:
    """Do what `values.uids.bare_uid` and `is_uid` do, for a whole column.

    Parameters
    ----------
    texts : pyarrow.Array
        Strings: UIDs, with or without `urn:oid:`, or anything else.

    Returns
    -------
    tuple of pyarrow.Array and list of int
        The bare texts, and the positions of those that are no UIDs.

    References
    ----------
    DICOM PS3.5, section 9: unique identifiers.
    """
    bare = _without_prefix(texts)
    if _are_uids(bare):
        return bare, []
    bare = pc.replace_substring_regex(pc.utf8_trim_whitespace(texts), r"^(?i:urn:oid:)", "")
    fine = pc.and_(pc.match_substring_regex(bare, _UID), pc.less_equal(pc.binary_length(bare), MAX_LENGTH))
    return bare, pc.indices_nonzero(pc.invert(pc.fill_null(fine, True))).to_pylist()


def _without_prefix(texts: pa.Array) -> pa.Array:
    """Cut the prefix off where all have it; where only some have it, nothing here: they do not look like UIDs then."""
    if not pc.all(pc.starts_with(texts, _PREFIX), min_count=0).as_py():
        return texts
    bytewise = texts.view(pa.binary())
    return pc.binary_replace_slice(bytewise, start=0, stop=len(_PREFIX), replacement=b"").view(pa.string())


def _are_uids(texts: pa.Array) -> bool:
    """Say whether every text is a UID, looking at all of their bytes at once; False may mean that this cannot tell."""
    _, offset_buffer, data = texts.buffers()
    if data is None or len(texts) == 0:
        return False
    offsets = np.frombuffer(offset_buffer, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    lengths = np.diff(offsets)
    starts, ends = offsets[:-1], offsets[1:]
    if texts.null_count:
        filled = lengths > 0
        if int(filled.sum()) != len(texts) - texts.null_count:
            return False
        starts, ends = starts[filled], ends[filled]
    elif int(lengths.min()) == 0:
        return False
    if int(lengths.max()) > MAX_LENGTH:
        return False
    used = np.frombuffer(data, np.uint8)
    # No text begins or ends with a dot, so two dots side by side are of one text.
    if (used[starts] == _DOT).any() or (used[ends - 1] == _DOT).any():
        return False
    return _holds_digits(used[offsets[0] : offsets[-1]])


def _holds_digits(used: npt.NDArray[np.uint8]) -> bool:
    """Say whether there are only digits, and dots that stand alone."""
    # A slash is all that lies between a dot and the digits.
    if int(used.min(initial=_NINE)) < _DOT or int(used.max(initial=_ZERO)) > _NINE:
        return False
    # Pieces overlap by a byte; pairs are looked at from even and from odd places.
    pieces = (used[at : at + _PIECE + 1] for at in range(0, len(used), _PIECE))
    return not any((one == _SLASH).any() or _has_two_dots(one) or _has_two_dots(one[1:]) for one in pieces)


def _has_two_dots(used: npt.NDArray[np.uint8]) -> bool:
    return bool((used[: len(used) & ~1].view(np.uint16) == _TWO_DOTS).any())
