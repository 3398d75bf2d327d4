"""Faces of a corpus grouped by identity, the groups tied to names, and each clip's face chosen."""

import numpy as np
import pytest

from mse_pipeline.extractors.visual.speakers import NOBODY, ClipFaces, Face, find_people, group

NAMES = ("Ann", "Bob", "Cid", "Dan", "Eve", "Fay")
DIM = 128


class Cast:
    """People with made identities: cosine .6 between two pictures of one person, .15 between two people's."""

    def __init__(self, count, seed):
        self.rng = np.random.default_rng(seed)
        common, *own = np.linalg.qr(self.rng.normal(size=(DIM, count + 1)))[0].T
        self.people = [np.sqrt(0.25) * common + np.sqrt(0.75) * one for one in own]

    def picture(self, person):
        noise = self.rng.normal(size=DIM)
        noise -= (noise @ self.people[person]) * self.people[person]
        return np.sqrt(0.6) * self.people[person] + np.sqrt(0.4) * noise / np.linalg.norm(noise)

    def face(self, track, person, area, frames=range(10)):
        frames = np.array(frames)
        return Face(track, frames, np.full(len(frames), area), self.picture(person))


def series(seed, clips=300, wrong=0.1, absent=0.15, dialogues=True):
    """Clips of six people in shots of one to three, who is in each track, and who really speaks."""
    cast = Cast(len(NAMES), seed)
    rng = cast.rng
    found, shown, really = [], {}, {}
    party = []
    for number in range(clips):
        if number % 10 == 0:
            party = list(rng.choice(len(NAMES), rng.integers(2, 4), replace=False))
        speaker = int(rng.choice(party))
        others = [one for one in party if one != speaker]
        seen = [] if rng.random() < absent else [speaker]
        seen += list(rng.choice(others, min(len(others), int(rng.integers(0 if seen else 1, 3))), replace=False))
        name = NAMES[speaker]
        if rng.random() < wrong:
            name = NAMES[int(rng.choice([one for one in range(len(NAMES)) if one != speaker]))]
        faces = []
        for person in seen:
            area = rng.uniform(0.02, 0.06) * (1.2 if person == speaker else 1.0)
            faces.append(cast.face(len(faces), person, area))
        rng.shuffle(faces)
        clip = f"c{number}"
        found.append(ClipFaces(clip, name, f"d{number // 10}" if dialogues else None, tuple(faces)))
        shown[clip] = {face.track: seen[face.track] for face in faces}
        really[clip] = (NAMES.index(name), name == NAMES[speaker])
    return found, shown, really


@pytest.mark.parametrize("dialogues", [True, False], ids=["dialogues", "no dialogues"])
@pytest.mark.parametrize("seed", range(3))
def test_six_people_get_their_names_although_a_tenth_of_the_names_is_wrong_and_some_speakers_are_not_seen(
    seed, dialogues
):
    clips, shown, really = series(seed, dialogues=dialogues)
    people = find_people(clips)
    tied = {}
    for person in people.persons:
        if person.name:
            assert person.sure
            owners = [shown[clip][track] for clip, track in person.faces]
            tied[person.name] = max(set(owners), key=owners.count)
    assert tied == {name: k for k, name in enumerate(NAMES)}
    right = visible = others = valid = 0
    for clip, (named, correct) in really.items():
        chosen = [shown[clip][track] for track in people.chosen[clip].tracks]
        valid += len(chosen)
        others += sum(person != named for person in chosen)
        if correct and named in shown[clip].values():
            visible += 1
            right += chosen == [named]
    assert right / visible >= 0.95
    assert others / valid <= 0.05
    absent = [clip for clip, (named, _) in really.items() if named not in shown[clip].values()]
    told = [people.chosen[clip].code for clip in absent]
    assert told.count("no_speaker") / len(told) >= 0.95


def test_names_that_stand_beside_clips_by_chance_get_nobody_for_sure():
    clips, _, _ = series(4, wrong=0.0)
    rng = np.random.default_rng(0)
    names = rng.permutation([one.speaker for one in clips])
    mixed = [ClipFaces(one.clip, str(name), None, one.faces) for one, name in zip(clips, names, strict=True)]
    people = find_people(mixed)
    assert sum(person.sure for person in people.persons) <= 1


def two_of_one_dialogue(cast, shots):
    """Clips of two people; a shot is the speaker and who is seen, the largest first."""
    return [
        ClipFaces(
            f"c{number}",
            NAMES[speaker],
            "d",
            tuple(cast.face(k, person, 0.04 / (1 + k / 4)) for k, person in enumerate(seen)),
        )
        for number, (speaker, seen) in enumerate(shots)
    ]


def test_two_people_of_a_few_clips_are_told_apart_by_who_fills_the_picture_when_they_speak():
    shots = [(0, [0, 1]), (1, [1]), (0, [0]), (1, [1, 0]), (0, [0, 1]), (0, [1]), (1, [1, 0]), (0, [0])]
    people = find_people(two_of_one_dialogue(Cast(2, 0), shots))
    chosen = [people.chosen[f"c{number}"].tracks for number in range(len(shots))]
    assert chosen == [(0,), (0,), (0,), (0,), (0,), (), (0,), (0,)]
    assert people.chosen["c5"].code == "no_speaker"


def test_a_speaker_is_followed_across_cuts_and_never_two_faces_at_a_time():
    cast = Cast(2, 1)
    clips = two_of_one_dialogue(cast, [(0, [0]), (1, [1]), (0, [0, 1]), (1, [1]), (0, [0])])
    cut = [cast.face(0, 0, 0.04, range(5)), cast.face(1, 1, 0.04, range(5, 9)), cast.face(2, 0, 0.04, range(9, 12))]
    people = find_people([*clips, ClipFaces("cut", "Ann", "d", tuple(cut))])
    assert people.chosen["cut"].tracks == (0, 2)


def test_clips_without_a_name_are_left_out_and_clips_without_faces_are_told():
    cast = Cast(2, 2)
    clips = two_of_one_dialogue(cast, [(0, [0]), (1, [1]), (0, [0]), (1, [1])])
    people = find_people(
        [*clips, ClipFaces("unnamed", None, "d", (cast.face(0, 0, 0.1),)), ClipFaces("no", "Ann", "d", ())]
    )
    assert "unnamed" not in people.chosen
    assert people.chosen["no"].code == "no_speaker"
    assert find_people([]).persons == ()
    assert find_people([ClipFaces("no", "Ann", None, ())]).missing == ("Ann",)


def test_a_name_without_a_face_of_its_own_gets_the_large_face_that_is_nobody_elses_and_says_so():
    cast = Cast(3, 3)
    clips = two_of_one_dialogue(cast, [(0, [0]), (1, [1])] * 6)
    stranger = ClipFaces("s", "Guest", "d", (cast.face(0, 0, 0.02), cast.face(1, 2, 0.06)))
    other = ClipFaces("t", "Voice", "d", (cast.face(0, 0, 0.06),))
    people = find_people([*clips, stranger, other])
    assert people.chosen["s"].tracks == (1,)
    assert people.chosen["s"].code == "unsure_speaker"
    assert people.chosen["t"].code == "no_speaker"


def test_what_a_person_says_of_one_face_holds_for_its_group():
    cast = Cast(2, 5)
    clips = two_of_one_dialogue(cast, [(0, [0]), (1, [1])] * 5)
    swapped = find_people(clips, {("c0", 0): "Bob", ("c1", 0): "Ann"})
    assert swapped.chosen["c2"].tracks == ()
    assert {person.name: person.faces[0][0] for person in swapped.persons}["Bob"] in {"c0", "c2", "c4", "c6", "c8"}
    nobody = find_people(clips, {("c0", 0): NOBODY})
    assert nobody.chosen["c2"].tracks == ()
    assert nobody.chosen["c3"].tracks == (0,)


def test_a_group_of_which_two_names_are_told_is_taken_apart():
    cast = Cast(1, 6)
    clips = [ClipFaces(f"c{k}", "Ann" if k % 2 else "Bob", f"d{k}", (cast.face(0, 0, 0.1),)) for k in range(6)]
    people = find_people(clips, {("c0", 0): "Bob", ("c1", 0): "Ann"})
    assert people.chosen["c0"].tracks == people.chosen["c1"].tracks == (0,)


def test_two_names_told_of_one_group_within_a_dialogue_take_it_apart_in_whatever_order():
    ann, between = np.eye(128)[0], np.eye(128)[:2].sum(0) / np.sqrt(2.0)  # so alike that they are one group

    def clip(number, vector):
        face = Face(0, np.arange(4), np.full(4, 0.1), vector)
        return ClipFaces(f"c{number}", ("Ann", "Bob")[number % 2], "d", (face,))

    clips = [*(clip(k, (ann, between)[k % 2]) for k in range(4)), clip(4, between)]
    told = {("c0", 0): "Ann", ("c1", 0): "Bob"}
    for pins in (told, dict(reversed(told.items()))):
        chosen = find_people(clips, pins).chosen
        assert {name: one.tracks for name, one in chosen.items()} == {**{f"c{k}": (0,) for k in range(4)}, "c4": ()}


def test_groups_beyond_the_most_that_are_compared_join_the_nearest(monkeypatch):
    cast = Cast(3, 7)
    vectors = np.stack([cast.picture(k % 3) for k in range(60)])
    monkeypatch.setattr("mse_pipeline.extractors.visual.speakers._MOST", 30)
    labels = group(vectors, np.ones(60))
    assert labels.tolist() == [k % 3 for k in range(60)]
