"""People: the faces of all clips of a corpus grouped by identity, and the groups tied to the speakers' names.

No picture is labelled: the label file only names the speaker of each clip. Faces are grouped dialogue by
dialogue first, where light, hair and clothes are the same, and then over the corpus. A name and a group belong
together if the group's face fills the picture when that name speaks, more than other names' groups do and more than
when others speak. The best pairs of names and groups are an assignment problem.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

SAME = 0.42
"""Mean cosine of two groups' identities from which they are one person."""

ALIKE = 0.35
"""Cosine to a person's mean identity from which a face that is in no tied group may be that person."""

AHEAD = 0.08
"""How much nearer than to the next person such a face must be."""

ALIKE_HERE, AHEAD_HERE = 0.2, 0.1
"""The same among the few who speak in a dialogue: a face in profile is far from its front, and farther from others."""

_FAR = 2.0  # distance of faces that are seen at the same time, and so are two people
_MOST = 4000  # groups that are compared with each other; the rest, the least seen, join the nearest of them
_CHANCE = 0.1  # share of the picture that anybody's face may have while someone else speaks
_SURE, _LIKELY = 3.0, 1.0  # nats by which a tie must beat all others
_Z = 3.0  # standard deviations above chance; fewer are asked of a corpus that is too small to reach them
_SEEN = 0.15  # share of the picture that a speaker's face must have on average over the speaker's clips
_UNKNOWN = 0.3  # the same in a single clip for a face that nothing but the clip's name speaks for
NOBODY = ""
"""Name of faces that are not a speaker's."""


@dataclass(frozen=True, eq=False)
class Face:
    """A track of a clip.

    Attributes:
        track: Its number among the clip's.
        frames: (F,) int, the sampled frames that it is in.
        areas: (F,) how much of the picture it fills: its boxes' areas, less where it is hardly a face.
        identity: (D,) unit vector, near for the same person.
    """

    track: int
    frames: np.ndarray
    areas: np.ndarray
    identity: np.ndarray


@dataclass(frozen=True, eq=False)
class ClipFaces:
    """A clip's faces and the name of its speaker.

    Attributes:
        clip: Its id.
        speaker: Who speaks; None if it is not known.
        dialogue: The conversation that it belongs to; None if there is none.
        faces: Its tracks.
    """

    clip: str
    speaker: str | None
    dialogue: str | None
    faces: tuple[Face, ...]


@dataclass(frozen=True)
class Chosen:
    """The chosen face of a clip.

    Attributes:
        tracks: Numbers of the tracks of its speaker; empty if the speaker is not seen.
        doubt: From 0, certain, to 1.
        code: ``no_speaker`` or ``unsure_speaker``; None without a remark.
        message: Why, as a sentence.
    """

    tracks: tuple[int, ...]
    doubt: float = 0.0
    code: str | None = None
    message: str | None = None


@dataclass(frozen=True)
class Person:
    """A group of faces.

    Attributes:
        name: The speaker that it is tied to; None for nobody's.
        sure: Whether the tie is beyond doubt.
        faces: Clip and track of each face, the most typical first.
        spoken: Clips of that name.
        seen: Those of them that show the person.
        doubt: From 0 to 1: how near the next best tie is.
    """

    name: str | None
    sure: bool
    faces: tuple[tuple[str, int], ...]
    spoken: int = 0
    seen: int = 0
    doubt: float = 0.0


@dataclass(frozen=True)
class People:
    """The people of a corpus.

    Attributes:
        chosen: By clip; clips without a known speaker are left out.
        persons: The names' groups in the order of the names' clips, then groups without a name, the most seen first.
        missing: Names that no group could be tied to.
    """

    chosen: Mapping[str, Chosen]
    persons: tuple[Person, ...]
    missing: tuple[str, ...]


def find_people(utterances: Sequence[ClipFaces], names_by_hand: Mapping[tuple[str, int], str] | None = None) -> People:
    """Group the faces of a corpus, tie the groups to names, and choose each clip's face.

    Args:
        utterances: The clips.
        names_by_hand: The user's corrections: name by clip and track, `NOBODY` for someone who never speaks. Each
            holds for the whole group of the face.

    Examples:
        >>> ann, bob = np.eye(2)
        >>> def clip(name, speaker, *seen):
        ...     faces = (Face(k, np.arange(4), np.full(4, 0.1), vector) for k, vector in enumerate(seen))
        ...     return ClipFaces(name, speaker, "d", tuple(faces))
        >>> clips = [clip("1", "Ann", ann), clip("2", "Bob", bob), clip("3", "Ann", bob, ann), clip("4", "Ann", bob)]
        >>> people = find_people([*clips, clip("5", "Bob", bob), clip("6", "Ann", ann)])
        >>> people.chosen["3"].tracks, people.chosen["4"].tracks, people.chosen["4"].code
        ((1,), (), 'no_speaker')
    """
    return _Search(utterances, names_by_hand or {}).people()


def group(vectors: np.ndarray, weights: np.ndarray, apart: Iterable[tuple[int, int]] = ()) -> np.ndarray:
    """Group identities: average linkage, cut where groups are less alike than `SAME`.

    Args:
        vectors: (N, D) unit vectors.
        weights: (N,) how much is seen of each.
        apart: Pairs that are different people, even if they look alike.

    Returns:
        (N,) int64, the number of each one's group, from 0.

    Examples:
        >>> group(np.array([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]]), np.ones(3)).tolist()
        [0, 1, 0]
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    count = len(vectors)
    order = np.argsort(-weights, kind="stable")
    heavy, rest = order[:_MOST], order[_MOST:]
    labels = np.zeros(count, np.int64)
    if len(heavy) > 1:
        distance = 1.0 - vectors[heavy] @ vectors[heavy].T
        position = np.full(count, -1)
        position[heavy] = np.arange(len(heavy))
        for first, second in apart:
            a, b = position[first], position[second]
            if a >= 0 and b >= 0:
                distance[a, b] = distance[b, a] = _FAR
        np.fill_diagonal(distance, 0.0)
        tree = linkage(squareform(np.clip(distance, 0.0, None), checks=False), "average")
        labels[heavy] = fcluster(tree, 1.0 - SAME, "distance") - 1
    if len(rest):
        nearness = vectors[rest] @ _means(vectors[heavy], weights[heavy], labels[heavy]).T
        alone = labels[heavy].max() + 1 + np.arange(len(rest))
        labels[rest] = np.where(nearness.max(1) >= SAME, nearness.argmax(1), alone)
    return _renumbered(labels)


def _renumbered(labels: np.ndarray) -> np.ndarray:
    """Groups numbered in the order in which they come."""
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(int(label), len(numbers)) for label in labels], np.int64)


def _means(vectors: np.ndarray, weights: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Unit vector of each group's weighted mean."""
    sums = np.zeros((int(labels.max()) + 1, vectors.shape[1]))
    np.add.at(sums, labels, vectors * weights[:, None])
    return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)


@dataclass(frozen=True)
class _Tie:
    name: str
    sure: bool
    doubt: float


class _Search:
    """The search over one corpus. A *look* is a group within a dialogue, a *person* one over the corpus."""

    def __init__(self, utterances: Sequence[ClipFaces], names_by_hand: Mapping[tuple[str, int], str]) -> None:
        self.utterances, self.told = utterances, names_by_hand
        # Number of the utterance and track of each face; of each utterance the numbers of its faces.
        self.faces = [(number, face) for number, utterance in enumerate(utterances) for face in utterance.faces]
        self.of_clip: list[list[int]] = [[] for _ in utterances]
        for number_of_face, (number, _) in enumerate(self.faces):
            self.of_clip[number].append(number_of_face)
        self.clips_of: dict[str, list[int]] = defaultdict(list)
        for number, utterance in enumerate(self.utterances):
            if utterance.speaker:
                self.clips_of[utterance.speaker].append(number)

    def people(self) -> People:
        if not self.faces:
            lacking = {clip.clip: _unseen(clip) for clip in self.utterances if clip.speaker}
            return People(lacking, (), tuple(self.clips_of))
        self.vectors = np.stack([face.identity for _, face in self.faces])
        self.weights = np.array([float(len(face.frames)) for _, face in self.faces])
        self._group()
        self.shares = self._shares()
        ties = self._tie()
        self._name_looks(ties)
        chosen = {clip.clip: self._choose(number) for number, clip in enumerate(self.utterances) if clip.speaker}
        return self._people(chosen, ties)

    def _group(self) -> None:
        """Looks, dialogue by dialogue, and the person of each look."""
        self.look = np.zeros(len(self.faces), np.int64)
        self.scene = [clip.dialogue or f"\0{clip.clip}" for clip in self.utterances]
        scenes: dict[str, list[int]] = defaultdict(list)
        for face, (number, _) in enumerate(self.faces):
            scenes[self.scene[number]].append(face)
        apart = self.apart = self._apart()
        count = 0
        for members in scenes.values():
            local = {face: k for k, face in enumerate(members)}
            pairs = [(local[first], local[second]) for first in members for second in apart[first] if first < second]
            labels = group(self.vectors[members], self.weights[members], pairs)
            self._split(members, labels)
            self.look[members] = labels + count
            count += int(labels.max()) + 1
        self.scene_of = {int(self.look[face]): self.scene[number] for face, (number, _) in enumerate(self.faces)}
        self.looks = _means(self.vectors, self.weights, self.look)
        self.look_weights = np.bincount(self.look, self.weights)
        pairs = [
            (self.look[first], self.look[second])
            for first, others in enumerate(apart)
            for second in others
            if first < second
        ]
        self.person = group(self.looks, self.look_weights, pairs)
        self._take_apart()

    def _split(self, members: Sequence[int], labels: np.ndarray) -> None:
        """Split, in place, looks that are several people by the user's names: each face joins the nearest named one."""
        named = {k: name for k, face in enumerate(members) if (name := self._said(face)) is not None}
        for look in {int(labels[k]) for k in named}:
            pinned = [k for k in named if labels[k] == look]
            names = list(dict.fromkeys(named[k] for k in pinned))
            own = np.flatnonzero(labels == look).tolist()
            near = (self.vectors[np.take(members, own)] @ self.vectors[np.take(members, pinned)].T).argmax(1)
            which = np.array([names.index(named.get(k, named[pinned[at]])) for k, at in zip(own, near, strict=True)])
            labels[own] = np.where(which == 0, look, labels.max() + which)

    def _said(self, index: int) -> str | None:
        """The name that the user gave to a face."""
        number, face = self.faces[index]
        return self.told.get((self.utterances[number].clip, face.track))

    def _apart(self) -> list[set[int]]:
        """For each face, the faces at the same time."""
        apart: list[set[int]] = [set() for _ in self.faces]
        for places in self.of_clip:
            for first, second in combinations(places, 2):
                if np.intersect1d(self.faces[first][1].frames, self.faces[second][1].frames).size:
                    apart[first].add(second)
                    apart[second].add(first)
        return apart

    def _pins(self) -> dict[int, str]:
        """Name by look, as the user gave it."""
        names = ((int(self.look[index]), self._said(index)) for index in range(len(self.faces)))
        return {look: name for look, name in names if name is not None}

    def _take_apart(self) -> None:
        """Split persons that are several by the user's names: each look joins the nearest named one."""
        self.pins = self._pins()
        by_person: dict[int, list[int]] = defaultdict(list)
        for look in self.pins:
            by_person[int(self.person[look])].append(look)
        for person, named in by_person.items():
            names = list(dict.fromkeys(self.pins[look] for look in named))
            members = np.flatnonzero(self.person == person)
            nearest = (self.looks[members] @ self.looks[named].T).argmax(1)
            for look, near in zip(members.tolist(), nearest.tolist(), strict=True):
                own = self.pins.get(look, self.pins[named[near]])
                if names.index(own):
                    self.person[look] = -1 - person * len(self.utterances) - names.index(own)
        self.person = _renumbered(self.person)
        self.pinned = {int(self.person[look]): name for look, name in self.pins.items()}

    def _shares(self) -> list[dict[int, float]]:
        """For each clip and person: the share of all faces' area, averaged over the frames with a face."""
        clip_shares: list[dict[int, float]] = []
        for places in self.of_clip:
            total: dict[int, float] = defaultdict(float)
            for place in places:
                face = self.faces[place][1]
                for frame, area in zip(face.frames.tolist(), face.areas.tolist(), strict=True):
                    total[frame] += area
            shares: dict[int, float] = defaultdict(float)
            for place in places:
                face = self.faces[place][1]
                whole = np.array([total[frame] for frame in face.frames.tolist()])
                share = float((face.areas / np.maximum(whole, 1e-9)).sum())
                shares[int(self.person[self.look[place]])] += share / len(total)
            clip_shares.append(dict(shares))
        return clip_shares

    def _tie(self) -> dict[int, _Tie]:
        """The tie of each person to a name, if there is one."""
        from scipy.optimize import linear_sum_assignment

        ties = {person: _Tie(name, True, 0.0) for person, name in self.pinned.items() if name != NOBODY}
        done = {tie.name for tie in ties.values()}
        names = [name for name in self.clips_of if name not in done]
        free = sorted({person for shares in self.shares for person in shares} - self.pinned.keys())
        if not names or not free:
            return ties
        column = {person: k for k, person in enumerate(free)}
        evidence = np.zeros((len(names), len(free)))
        for row, name in enumerate(names):
            for number in self.clips_of[name]:
                for person, share in self.shares[number].items():
                    if person in column:
                        evidence[row, column[person]] += np.log1p(share / _CHANCE)
        rows, columns = linear_sum_assignment(-evidence)
        taken = dict(zip(columns.tolist(), rows.tolist(), strict=True))
        beyond = self._beyond_chance(names, free)
        for row, at in zip(rows.tolist(), columns.tolist(), strict=True):
            own = evidence[row, at]
            # What it would cost to give this name another person, and that person's name this one.
            margins = [own - evidence[row, k] for k in range(len(free)) if k not in taken]
            margins += [
                own + evidence[other, k] - evidence[row, k] - evidence[other, at]
                for k, other in taken.items()
                if k != at
            ]
            margin = min([own, *margins])
            clips = [number for number in self.clips_of[names[row]] if self.shares[number]]
            seen = sum(self.shares[number].get(free[at], 0.0) for number in clips) / max(len(clips), 1)
            if seen < _SEEN or margin < _LIKELY or not beyond[row, at] > 0.0:
                continue
            sure = margin >= _SURE and beyond[row, at] >= 1.0
            doubt = 0.0 if sure else 1.0 - min(margin / _SURE, float(beyond[row, at]), 1.0) / 2.0
            ties[free[at]] = _Tie(names[row], sure, doubt)
        return ties

    def _beyond_chance(self, names: Sequence[str], free: Sequence[int]) -> np.ndarray:
        """Whether a face is seen more when a name speaks than when others do, (names, persons): from 1 it is no chance.

        The names are thought exchanged at random among the clips of each dialogue, and among all clips of the corpus:
        how far is the sum of shares from its mean, in standard deviations?
        """
        shown = [number for number, shares in enumerate(self.shares) if shares and self.utterances[number].speaker]
        row = {name: k for k, name in enumerate(names)}
        column = {person: k for k, person in enumerate(free)}
        excess, deviation = np.zeros((len(names), len(free))), np.zeros((len(names), len(free)))
        strata: dict[str, list[int]] = defaultdict(list)
        for number in shown:
            strata[self.scene[number]].append(number)
        # The dialogues are independent of each other, so that variances add up; they and the corpus are not.
        for parts in (list(strata.values()), [shown]):
            variance = np.zeros_like(excess)
            for members in parts:
                self._add_excess(members, row, column, excess, variance)
            deviation += np.sqrt(variance)
        needed = min(_Z, 0.6 * np.sqrt(max(len(shown) - 1, 1)))
        # Nothing to compare with, as where one name speaks in all clips, says nothing against a tie.
        return np.where(deviation > 1e-9, excess / np.maximum(deviation, 1e-9) / needed, 1.0)

    def _add_excess(
        self,
        members: Sequence[int],
        row: Mapping[str, int],
        column: Mapping[int, int],
        excess: np.ndarray,
        variance: np.ndarray,
    ) -> None:
        """Add the excess and variance of one part of the clips."""
        count = len(members)
        if count < 2:
            return
        names = list(dict.fromkeys(str(self.utterances[number].speaker) for number in members))
        persons = sorted({person for number in members for person in self.shares[number] if person in column})
        name_at, person_at = ({item: k for k, item in enumerate(items)} for items in (names, persons))
        spoken, total, square = np.zeros(len(names)), np.zeros(len(persons)), np.zeros(len(persons))
        together = np.zeros((len(names), len(persons)))
        for number in members:
            name = name_at[str(self.utterances[number].speaker)]
            spoken[name] += 1
            for person, share in self.shares[number].items():
                if person in person_at:
                    total[person_at[person]] += share
                    square[person_at[person]] += share**2
                    together[name, person_at[person]] += share
        mean = total / count
        spread = np.maximum(square / count - mean**2, 0.0)
        own = [k for k, name in enumerate(names) if name in row]
        cells = np.ix_([row[names[k]] for k in own], [column[person] for person in persons])
        excess[cells] += together[own] - np.outer(spoken[own], mean)
        variance[cells] += np.outer(spoken[own] * (count - spoken[own]) / (count - 1), spread)

    def _name_looks(self, ties: Mapping[int, _Tie]) -> None:
        """The name of each look: that of its person, or of the person that it resembles by far the most."""
        self.names = sorted({tie.name for tie in ties.values()})
        self.sure = {name: all(tie.sure for tie in ties.values() if tie.name == name) for name in self.names}
        number = {name: k for k, name in enumerate(self.names)}
        self.name_of = np.full(len(self.looks), -1)
        for look, person in enumerate(self.person.tolist()):
            if person in ties:
                self.name_of[look] = number[ties[person].name]
        self.strange = np.array([self.pinned.get(person) == NOBODY for person in self.person.tolist()])
        self.nearness = self._nearness()
        beside = self._beside()
        names_in: dict[str, set[int]] = defaultdict(set)
        for scene, clip in zip(self.scene, self.utterances, strict=True):
            names_in[scene] |= {number[clip.speaker]} if clip.speaker in number else set()
        for look in np.flatnonzero((self.name_of < 0) & ~self.strange).tolist():
            for among, alike, ahead in (
                (set(range(len(self.names))), ALIKE, AHEAD),
                (names_in[self.scene_of[look]], ALIKE_HERE, AHEAD_HERE),
            ):
                if self.name_of[look] < 0 and among - beside[look]:
                    near = self.nearness[look]
                    best = max(among - beside[look], key=lambda k: near[k])
                    next_best = max((near[k] for k in among if k != best), default=-1.0)
                    if near[best] >= alike and near[best] - next_best >= ahead:
                        self.name_of[look] = best

    def _beside(self) -> list[set[int]]:
        """For each look, the names of people at the same time, who must be other people."""
        beside: list[set[int]] = [set() for _ in self.looks]
        for face, others in enumerate(self.apart):
            names = {int(self.name_of[self.look[other]]) for other in others}
            beside[self.look[face]] |= names - {-1}
        return beside

    def _nearness(self) -> np.ndarray:
        """(looks, names): cosine to the name's mean identity, over the corpus or in the look's dialogue."""
        if not self.names:
            return np.zeros((len(self.looks), 0))
        tied = np.flatnonzero(self.name_of >= 0)
        whole = _means(self.looks[tied], self.look_weights[tied], self.name_of[tied])
        near: np.ndarray = self.looks @ whole.T
        by_scene: dict[str, list[int]] = defaultdict(list)
        for look in range(len(self.looks)):
            by_scene[self.scene_of[look]].append(look)
        for looks in by_scene.values():
            own = [look for look in looks if self.name_of[look] >= 0]
            for look in looks:
                for other in own:
                    if other != look:
                        k = self.name_of[other]
                        near[look, k] = max(near[look, k], float(self.looks[look] @ self.looks[other]))
        return near

    def _choose(self, number: int) -> Chosen:
        """The tracks of a clip's speaker."""
        utterance = self.utterances[number]
        places = self.of_clip[number]
        if not places:
            return _unseen(utterance)
        speaker = str(utterance.speaker)
        if speaker not in self.names:
            return self._guess(number)
        name = self.names.index(speaker)
        own = [place for place in places if self.name_of[self.look[place]] == name]
        if not own:
            return _unseen(utterance)
        near = self.nearness
        taken: list[int] = []
        frames: set[int] = set()
        for place in sorted(own, key=lambda k: -near[self.look[k], name] * self.weights[k]):
            mine = set(self.faces[place][1].frames.tolist())
            if not mine & frames:
                taken.append(place)
                frames |= mine
        ahead = min(near[self.look[k], name] - np.delete(near[self.look[k]], name).max(initial=0.0) for k in taken)
        doubt = float(np.clip(1.0 - ahead / 0.5, 0.0, 0.6))
        tracks = tuple(sorted(self.faces[place][1].track for place in taken))
        if not self.sure[speaker]:
            why = f"The face of {speaker} is a guess: too few clips tell it from others."
            return Chosen(tracks, round(max(doubt, 0.7), 3), "unsure_speaker", why)
        message = (
            "Some of the face's looks are hardly nearer to this speaker's than to others'." if doubt > 0.5 else None
        )
        return Chosen(tracks, round(doubt, 3), None, message)

    def _guess(self, number: int) -> Chosen:
        """For a name without a face: the tracks of the largest face that belongs to no other name."""
        utterance = self.utterances[number]
        shares = self.shares[number]
        unknown = {
            int(self.person[self.look[place]])
            for place in self.of_clip[number]
            if self.name_of[self.look[place]] < 0 and not self.strange[self.look[place]]
        }
        best = max(unknown, key=lambda person: shares.get(person, 0.0), default=None)
        if best is None or shares[best] < _UNKNOWN:
            return _unseen(utterance)
        own = [place for place in self.of_clip[number] if self.person[self.look[place]] == best]
        tracks = tuple(sorted(self.faces[place][1].track for place in own))
        message = f"No face could be tied to {utterance.speaker}: the largest face that is nobody else's was taken."
        return Chosen(tracks, 0.9, "unsure_speaker", message)

    def _people(self, chosen: Mapping[str, Chosen], ties: Mapping[int, _Tie]) -> People:
        """The persons of the result: all groups of a name are one person."""
        by_name: dict[str, list[int]] = defaultdict(list)
        nobody: dict[int, list[int]] = defaultdict(list)
        for place in range(len(self.faces)):
            name = self.name_of[self.look[place]]
            if name >= 0:
                by_name[self.names[name]].append(place)
            else:
                nobody[int(self.person[self.look[place]])].append(place)
        persons = []
        for name in sorted(by_name, key=lambda name: -len(self.clips_of[name])):
            clips = [self.utterances[number].clip for number in self.clips_of[name]]
            seen = sum(bool(chosen[clip].tracks) for clip in clips)
            doubt = max(tie.doubt for tie in ties.values() if tie.name == name)
            faces = self._typical(by_name[name])
            persons.append(Person(name, self.sure[name], faces, len(clips), seen, round(doubt, 3)))
        rest = sorted(nobody.values(), key=lambda places: -self.weights[places].sum())
        persons += [Person(None, False, self._typical(places)) for places in rest]
        missing = tuple(name for name in self.clips_of if name not in by_name)
        return People(chosen, tuple(persons), missing)

    def _typical(self, places: Sequence[int]) -> tuple[tuple[str, int], ...]:
        """Faces of a person; first those that are near the mean and seen for long."""
        middle = _means(self.vectors[list(places)], self.weights[list(places)], np.zeros(len(places), np.int64))[0]
        order = sorted(places, key=lambda k: -float(self.vectors[k] @ middle) * np.log1p(self.weights[k]))
        return tuple((self.utterances[self.faces[k][0]].clip, self.faces[k][1].track) for k in order)


def _unseen(utterance: ClipFaces) -> Chosen:
    return Chosen((), 0.3, "no_speaker", f"The face of {utterance.speaker}, who speaks, is not seen.")
