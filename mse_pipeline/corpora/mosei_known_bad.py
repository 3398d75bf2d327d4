"""What is known to be wrong with CMU-MOSEI's media, from the issues of CMU-MultimodalSDK and of MMSA.

Facts about the official archive and about the clips that MMSA cut from it; they do not hold for other data in these
layouts.
"""

from __future__ import annotations

_PAIRING = "text and video are of different segments (MMSA issue 66)"

MMSA_CUT: dict[str, str] = {"-mJ2ud6oKI8": _PAIRING, "0BVed2nBq1g": _PAIRING}
"""Video -> what is wrong with its clips as MMSA cut them (``<video>/<clip>.mp4``)."""

SEGMENTED: dict[str, str] = {"ZzL2sHtTWRc": "frames are black (issues of CMU-MultimodalSDK)"}
"""Video -> what is wrong with its segments in CMU's archive."""

MISSING: dict[str, str] = {
    "Y7qkyMyanjU": "MMSA's archive lacks the folder, 4 clips (MMSA issue 61)",
    "hh04W3xXa5s": "CMU's archive lacks its segments (issues of CMU-MultimodalSDK)",
}
"""Video -> why it has no segment files."""

CUT_FROM_FULL = (
    "CMU's archive has no segment of it, and of such videos 37 in 60 that were looked at have wrong times "
    "(CMU-MultimodalSDK issue 227)"
)
"""What is known of clips that only the full video has."""
