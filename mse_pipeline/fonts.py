"""Fonts of pictures: Latin letters of matplotlib's own, Chinese ones of what is installed; no box without a letter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache

_FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK SC",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "PingFang SC",
    "Microsoft YaHei",
    "SimHei",
)
"""In the order in which a letter is looked for."""


@cache
def _installed() -> Mapping[str, str]:
    """File of each font that is here, by its name; matplotlib's own list is older than fonts that came since."""
    import logging

    from matplotlib import font_manager

    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    manager = font_manager.fontManager
    for path in sorted(set(font_manager.findSystemFonts()) - {font.fname for font in manager.ttflist}):
        # A font that is damaged, or of a kind that matplotlib does not read, is no font here.
        with suppress(Exception):
            manager.addfont(path)
    return {font.name: font.fname for font in manager.ttflist if font.name in _FONTS}


@cache
def _letters(path: str) -> frozenset[int]:
    """Code points that a font has."""
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(path).get_charmap())


@contextmanager
def chosen() -> Iterator[None]:
    """Within it, matplotlib makes figures with these fonts, and says nothing of those that it does not find."""
    import matplotlib

    installed = _installed()
    with matplotlib.rc_context():
        matplotlib.rcParams["font.family"] = [name for name in _FONTS if name in installed] or ["sans-serif"]
        yield


def can_write(text: str) -> bool:
    """Whether the fonts here have each of the text's letters.

    Examples:
        >>> can_write("joy"), can_write(chr(0x10FFFF))
        (True, False)
    """
    letters = {ord(letter) for letter in text if not letter.isspace()}
    return not letters.difference(*map(_letters, _installed().values()))
