"""Silent: what long work tells its progress to where nobody watches."""

from __future__ import annotations

from typing import Any


class Silent:
    """Progress that tells nothing, whatever the work: an extraction, a check or a training.

    Examples:
        >>> Silent().stage("planning")
    """

    def _nothing(self, *given: Any, **named: Any) -> None:
        """Say nothing."""

    stage = begin = pace = advance = rate = step = epoch = _nothing
