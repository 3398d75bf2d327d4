"""IEMOCAP comes without splits: whole sessions for the test, so that its two speakers are new to the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from mse_pipeline.clip import Split

Validation = Literal["dialogues", "session", "none"]


def split_of_dialogues(
    dialogues: Sequence[tuple[int, str]], test_session: int, validation: Validation
) -> tuple[dict[str, Split], str]:
    """The split of each dialogue.

    Emotion recognition in conversation tests on session 5 and trains on the other 120 dialogues (as DialogueRNN and
    its successors do). They take a random tenth of these for validation, differently in each repository; here the
    choice is fixed.

    Args:
        dialogues: Session and name of each.
        test_session: Whose dialogues are the test.
        validation: ``dialogues``: the last tenth of each other session's dialogues by name, at least one.
            ``session``: the whole session before the test's (after 1 comes 5). ``none``: nothing, as in papers that
            stop at the best test epoch.

    Returns:
        Dialogue -> split, and a sentence that tells the choice.

    Examples:
        >>> split_of_dialogues([(1, "Ses01F_impro01"), (1, "Ses01F_impro02"), (5, "Ses05F_impro01")], 5, "dialogues")[0]
        {'Ses01F_impro01': <Split.TRAIN: 'train'>, 'Ses01F_impro02': <Split.VALID: 'valid'>, \
'Ses05F_impro01': <Split.TEST: 'test'>}
    """
    before = (test_session - 2) % 5 + 1
    chosen = {name: Split.TEST if session == test_session else Split.TRAIN for session, name in dialogues}
    if validation == "session":
        chosen |= {name: Split.VALID for session, name in dialogues if session == before}
        told = f"session {before} is valid"
    elif validation == "dialogues":
        for session in {session for session, _ in dialogues} - {test_session}:
            names = sorted(name for own, name in dialogues if own == session)
            chosen |= dict.fromkeys(names[-max(1, len(names) // 10) :] if len(names) > 1 else [], Split.VALID)
        told = "the last tenth of each other session's dialogues is valid"
    else:
        told = "nothing is valid"
    return chosen, f"Session {test_session} is the test, {told}, and the rest is train (options test_session, valid)."
