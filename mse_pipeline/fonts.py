"""Fonts of pictures: Latin letters of matplotlib's own, Chinese ones of what is installed; no box without a letter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def chosen() -> Iterator[None]:
    """Within it, matplotlib makes figures with these fonts, and says nothing of those that it does not find."""
    import logging

    import matplotlib
    from matplotlib import font_manager

    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    installed = {font.name for font in font_manager.fontManager.ttflist}
    with matplotlib.rc_context():
        matplotlib.rcParams["font.family"] = [name for name in _FONTS if name in installed] or ["sans-serif"]
        yield


def can_write(text: str) -> bool:
    """Whether one of the fonts here has each of the text's letters."""
    import matplotlib.ft2font
    from matplotlib import font_manager

    letters = {ord(letter) for letter in text if not letter.isspace()}
    for font in font_manager.fontManager.ttflist:
        if letters and font.name in _FONTS:
            letters -= set(matplotlib.ft2font.FT2Font(font.fname).get_charmap())
    return not letters
