from __future__ import annotations

import pytest

from mse_pipeline.sample.speaker import speaker


def test_the_same_numbers_give_the_same_person() -> None:
    assert speaker(3, 5) == speaker(3, 5)


@pytest.mark.parametrize(("first", "second"), [((0, 0), (0, 2)), ((0, 1), (1, 1))])
def test_other_numbers_give_another_face_and_another_voice(first: tuple[int, int], second: tuple[int, int]) -> None:
    one, other = speaker(*first), speaker(*second)
    assert one.pitch != other.pitch
    assert one.face_width != other.face_width


def test_a_cast_of_any_size_has_no_name_twice() -> None:
    names = [speaker(0, number).name for number in range(60)]
    assert len(set(names)) == 60


def test_voices_alternate_between_the_registers_of_women_and_men() -> None:
    cast = [speaker(0, number) for number in range(24)]
    assert min(person.pitch for person in cast[0::2]) > max(person.pitch for person in cast[1::2])
    assert min(person.tract for person in cast[0::2]) > max(person.tract for person in cast[1::2])


def test_hair_is_always_darker_than_skin() -> None:
    cast = [speaker(2, number) for number in range(40)]
    assert min(sum(person.skin) - sum(person.hair) for person in cast) > 100
