"""The emotions of MELD, CHERMA and IEMOCAP in the order of their indices, and how files spell them."""

from __future__ import annotations

from collections.abc import Sequence

from mse_pipeline.corpora import cherma, iemocap, meld
from mse_pipeline.errors import MseError, did_you_mean

CLASSES = {"meld": meld.EMOTIONS, "cherma": cherma.EMOTIONS, "iemocap": iemocap.EMOTIONS}
LANGUAGES = {"cherma": "zh"}


def spelling(corpus: str, label: str, classes: Sequence[str], where: str) -> str:
    """The class that a label means.

    Args:
        corpus: Name of the corpus; CHERMA's labels may be in Chinese or English.
        label: As the file has it.
        classes: Those that there are.
        where: How an error calls the place.

    Raises:
        MseError: It is none of the classes.

    Examples:
        >>> spelling("cherma", "happy", CLASSES["cherma"], "entry 0")
        '高兴'
    """
    plain = label.strip()
    for one in (plain, plain.lower(), *(cherma.names_of(plain) if corpus == "cherma" else ())):
        if one in classes:
            return one
    raise MseError(
        f"{where} has the label {label[:40]!r}{did_you_mean(plain, classes)}; known are {', '.join(classes)}."
    )
