import math

import pytest

from mse_pipeline.errors import UsageError
from mse_pipeline.store.condition import read_condition

KINDS = {"snr": "number", "turn": "number", "split": "text", "speaker": "text", "defects": "codes"}
CLIP = {"snr": 12.5, "turn": 3.0, "split": "train", "speaker": None, "defects": frozenset({"no_audio"})}


@pytest.mark.parametrize(
    ("text", "meets"),
    [
        ("snr > 10", True),
        ("  snr > 10\n", True),
        ("snr > 1e1 and turn == 3", True),
        ("10 < snr < 12", False),
        ("snr >= -3.5", True),
        ("snr == +12.5", True),
        ("turn < snr", True),
        ("split == 'train' or snr > 100", True),
        ('split in ("train", "valid")', True),
        ("split not in ['train']", False),
        ("turn in {1, 2, 3}", True),
        ("'no_audio' in defects", True),
        ("'no_face' not in defects and not snr < 10", True),
        ("speaker == 'Ross'", None),
        ("not speaker == 'Ross'", None),
        ("speaker != 'Ross'", None),
        ("speaker in ('Ross',)", None),
        ("speaker == 'Ross' or snr > 10", True),  # whoever speaks
        ("speaker == 'Ross' and snr > 100", False),
        ("speaker == 'Ross' and snr > 10", None),
        ("speaker == split", None),
        ("100 < snr < turn", False),
    ],
)
def test_a_condition_is_met_or_not_or_not_known(text, meets):
    assert read_condition(text, KINDS)(CLIP) is meets


@pytest.mark.parametrize("text", ["snr > 10", "not snr > 10", "10 > snr", "snr != 3", "snr in (1, 2)"])
def test_nan_is_not_known_and_meets_nothing(text):
    assert read_condition(text, KINDS)({**CLIP, "snr": math.nan}) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "it is empty"),
        ("snr >", "cannot be read"),
        ("snr = 3", "write == to compare"),
        ("speaker == Ross", "there is no Ross; there is defects, snr, speaker, split, turn. A text stands in quotes"),
        ("speaker is 'Ross'", "write == or !="),
        ("sr > 3", "there is no sr; did you mean snr? There is defects, snr, speaker, split, turn"),
        ("zebra > 3", "there is no zebra; there is defects"),
        ("snr", "snr is compared with nothing; write as in snr > 0.5"),
        ("not split", "split is compared with nothing"),
        ("snr > '10'", "a number cannot be compared with a text"),
        ("split > 'train'", "texts are equal or not"),
        ("split == 3", "a text cannot be compared with a number"),
        ("split in 'train'", "`in` looks into a list"),
        ("split in ('train', 3)", "a list holds texts or numbers alone"),
        ("3 in ('train',)", "a number is in no list of texts"),
        ("split in (speaker,)", "a list holds texts or numbers alone"),
        ("defects == 'no_audio'", "a list is looked into by `in`"),
        ("snr in defects", "`in` looks into a list"),
        ("snr > 3 & turn > 1", "neither a name, a number nor a text"),
        ("(snr > 3) & (turn > 1)", "write `and` for &"),
        ("(snr > 3) | (turn > 1)", "write `or` for |"),
        ("~(snr > 3)", "write `not` for ~"),
        ("snr * 2 > 3", "neither a name, a number nor a text"),
        ("snr > True", "neither a name, a number nor a text"),
        ("snr > 1e999", "neither a name, a number nor a text"),
        ("snr > None", "neither a name, a number nor a text"),
        ("abs(snr) > 3", "neither a name, a number nor a text"),
        ("__import__('os').system('true') == 0", "neither a name, a number nor a text"),
        ("snr.__class__ == 3", "neither a name, a number nor a text"),
        ("(lambda: 3)() == 3", "neither a name, a number nor a text"),
        ("[x for x in (1,)] == 3", "neither a name, a number nor a text"),
        ("f'{snr}' == '3'", "neither a name, a number nor a text"),
        ("snr > 3 if turn > 1 else turn > 0", "join comparisons by and, or, not"),
        ("(x := 3) > 2", "neither a name, a number nor a text"),
        ("snr > 3; turn > 2", "cannot be read"),
        ("snr > 3\0", "cannot be read"),
        ("not " * 200 + "snr > 3", "nested too deeply"),
        ("(" * 900 + "snr > 3" + ")" * 900, "cannot be read"),
        ("snr > 3 or " * 900 + "snr > 3", "characters"),
    ],
)
def test_what_is_no_comparison_of_known_names_is_refused_with_the_mend(text, told):
    with pytest.raises(UsageError) as refused:
        read_condition(text, KINDS)
    assert told in str(refused.value)
    assert str(refused.value).startswith("--where ")


def test_codes_that_there_are_not_are_refused():
    read_condition("'no_audio' in defects and split == 'no_such'", KINDS, ("no_audio", "no_video"))
    with pytest.raises(UsageError, match=r"there is no code no_vidio; did you mean no_video\?$"):
        read_condition("'no_vidio' in defects", KINDS, ("no_audio", "no_video"))
    with pytest.raises(UsageError, match="there is no code zebra; there is no_audio, no_video"):
        read_condition("snr > 3 or not 'zebra' not in defects", KINDS, ("no_audio", "no_video"))
