"""Tiktoken files: a line a token, its bytes in base64 and its rank; and the merges that the ranks imply."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from pathlib import Path

from mse_pipeline.errors import MseError

MAX_BYTES = 64 * 2**20
LONGEST = 1_024
"""Bytes of a token; real ones have up to 128."""


def read_ranks(path: Path) -> dict[bytes, int]:
    """Tokens and their ranks, which are their ids.

    Raises:
        MseError: The file is none of this form, or its ranks do not count up from 0.
    """
    if path.stat().st_size > MAX_BYTES:
        raise MseError(f"{path} has more than {MAX_BYTES >> 20} MiB, too many for a vocabulary: download it again.")
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            token, rank = line.split()
            spelled, place = base64.b64decode(token, validate=True), int(rank)
        except (ValueError, binascii.Error):
            raise MseError(
                f"{path}, line {number}: a token in base64 and its rank are expected. Download it again."
            ) from None
        if place != len(ranks) or not 1 <= len(spelled) <= LONGEST or spelled in ranks:
            raise MseError(
                f"{path}, line {number}: rank {place} should be {len(ranks)}, of a token of 1 to {LONGEST} bytes that "
                "was not there before. Download it again."
            )
        ranks[spelled] = place
    if any(bytes([byte]) not in ranks for byte in range(256)):
        raise MseError(f"{path} lacks some of the 256 single bytes: download it again.")
    return ranks


def merges(ranks: Mapping[bytes, int]) -> Iterator[tuple[bytes, bytes]]:
    """The pairs that are merged, in their order.

    Tiktoken merges the neighbours whose joint rank is lowest, the leftmost first. Whatever stands around them, two
    neighbours that make up a token have come about as when that token's bytes are merged alone: so each token has one
    pair, the last one of that process, and the list of pairs gives the same tokens for every text.

    Examples:
        >>> alone = {bytes([byte]): byte for byte in range(256)}
        >>> list(merges({**alone, b"bc": 256, b"ab": 257, b"abc": 258}))
        [(b'b', b'c'), (b'a', b'b'), (b'a', b'bc')]
    """
    for token in ranks:
        if len(token) > 1:
            parts = [token[place : place + 1] for place in range(len(token))]
            while len(parts) > 2:
                joint = [ranks.get(parts[place] + parts[place + 1]) for place in range(len(parts) - 1)]
                known = [rank for rank in joint if rank is not None]
                if not known:
                    break
                at = joint.index(min(known))
                parts[at : at + 2] = [parts[at] + parts[at + 1]]
            # What never becomes one token is found only where it is a whole piece of text (`ignore_merges`).
            if len(parts) == 2:
                yield parts[0], parts[1]


def letters(token: bytes) -> str:
    r"""A token's bytes as the letters that the library `tokenizers` writes for them, one a byte.

    Examples:
        >>> letters(b" a\n")
        'ĠaĊ'
    """
    return token.decode("latin-1").translate(_LETTERS)


def _alphabet() -> dict[int, str]:
    """Printable bytes of Latin-1 stand for themselves; the others take the letters from U+0100 on (GPT-2)."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(0x100 + place) for place, byte in enumerate(others)}


_LETTERS = _alphabet()
