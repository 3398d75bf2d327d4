"""Fonts: pictures with texts in any script, as far as fonts here have their letters, and without warnings where not.

The fonts that come with matplotlib have no Chinese, Japanese or Korean; every desktop system has some that do.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

_LATIN = "DejaVu Sans"  # comes with matplotlib
_FAMILIES = (
    *(f"Noto {kind} CJK {where}" for kind in ("Sans", "Serif") for where in ("SC", "TC", "HK", "JP", "KR")),
    *(f"Noto {kind} {where}" for kind in ("Sans", "Serif") for where in ("SC", "TC", "HK", "JP", "KR")),
    *(f"Source Han {kind} {where}" for kind in ("Sans", "Serif") for where in ("SC", "CN", "TC", "HW")),
    *("WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback", "AR PL UMing CN", "AR PL UKai CN"),
    *("PingFang SC", "PingFang TC", "PingFang HK", "Hiragino Sans GB", "Heiti SC", "Heiti TC", "STHeiti", "Songti SC"),
    *("Microsoft YaHei", "DengXian", "SimHei", "SimSun", "Microsoft JhengHei", "MingLiU", "Arial Unicode MS"),
    *("Hiragino Sans", "Yu Gothic", "Meiryo", "MS Gothic", "IPAGothic", "IPAexGothic", "TakaoGothic", "VL Gothic"),
    *("Apple SD Gothic Neo", "Malgun Gothic", "NanumGothic", "Unifont"),
)
"""Families with the letters of China, Japan and Korea, as Linux, macOS and Windows have them."""

_NO_LETTER = "\N{WHITE SQUARE}"


@contextmanager
def drawing() -> Iterator[None]:
    """Within it, matplotlib draws texts with all of the fonts here that are known to have what the first one lacks."""
    import matplotlib

    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    with matplotlib.rc_context({"font.family": list(_letters())}):
        yield


def writable(text: str) -> str:
    """A text with a square in place of each letter that no font here has."""
    missing = lacking([text])
    return "".join(_NO_LETTER if letter in missing else letter for letter in text)


def lacking(texts: Iterable[str]) -> str:
    """The letters of texts that no font here has, each once; empty where all can be drawn."""
    letters = dict.fromkeys(letter for text in texts for letter in text if letter != "\n")
    there = _letters().values()
    return "".join(letter for letter in letters if not any(ord(letter) in own for own in there))


@functools.cache
def _letters() -> dict[str, frozenset[int]]:
    """Families that are here, in the order in which they are asked for a letter, with the letters of each."""
    from matplotlib import font_manager

    files = {font.name: font.fname for font in font_manager.fontManager.ttflist}
    if not files.keys() & set(_FAMILIES):  # a font may have come after matplotlib's list was made
        known = set(files.values())
        for path in font_manager.findSystemFonts():
            if path not in known:
                with suppress(Exception):  # of whatever lies among a system's fonts
                    font_manager.fontManager.addfont(path)
        files = {font.name: font.fname for font in font_manager.fontManager.ttflist}
    return {name: _charmap(files[name]) for name in (_LATIN, *_FAMILIES) if name in files}


def _charmap(path: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()
