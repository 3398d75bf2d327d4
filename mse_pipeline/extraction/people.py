"""The second pass of the policy `speaker`: it chooses the face of each clip when the faces of all clips are known.

It reads the notes of the shards, no media and no values, and writes one small file per stream.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from mse_pipeline.clip import Clip
from mse_pipeline.corpora.base import enumerate_some
from mse_pipeline.errors import MseError
from mse_pipeline.extractors.visual.people import from_text
from mse_pipeline.extractors.visual.speakers import ClipFaces, Face, People, find_people
from mse_pipeline.store.candidates import NOTE, Choice, Choices
from mse_pipeline.store.dataset import Dataset
from mse_pipeline.store.keys import canonical
from mse_pipeline.store.manifest import StreamEntry

REVISION = 2
"""Raised whenever the same faces and names give another choice."""

_HARDLY, _CLEARLY = 0.65, 0.9  # probabilities of a detector between which a face begins to count
_SHOWN_FACES = 12  # of each person, for the gallery
_SHOWN_NOBODIES = 40  # groups without a name


def choose_people(
    dataset: Dataset,
    names_by_hand: Mapping[tuple[str, int], str],
    on_stream: Callable[[str], None] = lambda stream: None,
) -> tuple[str, ...]:
    """Choose each clip's face in the streams that follow the speaker; streams without changes keep their choice.

    Args:
        dataset: The dataset in the cache.
        names_by_hand: Names that the user gave to single faces, by clip and track.
        on_stream: Called with each stream that is searched.

    Returns:
        Sentences about the streams' faces, for the summary.

    Raises:
        MseError: The notes of a clip are damaged.
    """
    sentences = []
    people_of: dict[str, People] = {}
    for stream, entry in dataset.manifest.streams.items():
        if not follows_speaker(entry):
            continue
        native = dataset.native(stream)
        clips = {clip.id: clip for clip in dataset.clips if clip.id in native.rows}
        inputs = [[clip.id, native.rows[clip.id].key, clip.speaker, clip.dialogue] for clip in clips.values()]
        pinned = sorted([clip, track, name] for (clip, track), name in names_by_hand.items())
        made_of = hashlib.blake2b(canonical([REVISION, inputs, pinned]), digest_size=16).hexdigest()
        if dataset.choices(stream).made_of != made_of:
            on_stream(stream)
            notes = dict(native.notes())
            pins = {**names_by_hand, **_by_hand(notes, clips)}
            utterances = [_utterance(clip, notes[name]) for name, clip in clips.items() if name in notes]
            same = _digest(utterances, pins)  # streams that find faces alike choose alike
            if same not in people_of:
                people_of[same] = find_people(utterances, pins)
            chosen = _choices(people_of[same], notes, {name: native.rows[name].key for name in clips})
            about = {**_about(people_of[same], utterances), "strangers": _strangers(pins, utterances)}
            dataset.set_choices(stream, Choices(chosen, made_of, about))
        sentences += _sentences(stream, dataset)
    return tuple(dict.fromkeys(sentences))


def follows_speaker(entry: StreamEntry) -> bool:
    """Whether a stream's faces are those of the clips' speakers, chosen over the whole corpus."""
    config = entry.identity.get("config")
    return isinstance(config, Mapping) and config.get("policy") == "speaker"


def guessed(dataset: Dataset, stream: str) -> tuple[str, ...]:
    """Ids of clips that show several people, of whom the largest is followed for want of knowing who speaks.

    Args:
        dataset: The dataset, after `choose_people`.
        stream: Name of the stream.
    """
    if not follows_speaker(dataset.manifest.streams[stream]):
        return ()
    native, choices = dataset.native(stream), dataset.choices(stream)
    notes = dict(native.notes())
    alone = [clip for clip, row in native.rows.items() if choices.of(row) is None]
    return tuple(clip for clip in alone if _several(notes.get(clip, {})))


def _several(notes: Mapping[str, Any]) -> bool:
    people = {track.get("person", track["track"]) for track in notes.get("tracks", [])}
    return "asked_for" not in notes and len(people) > 1


def _by_hand(notes: Mapping[str, Mapping[str, Any]], clips: Mapping[str, Clip]) -> dict[tuple[str, int], str]:
    """For each face that was chosen by hand, the speaker of its clip."""
    return {
        (name, int(clip_notes["asked_for"])): str(clips[name].speaker)
        for name, clip_notes in notes.items()
        if "asked_for" in clip_notes and name in clips and clips[name].speaker
    }


def _utterance(clip: Clip, notes: Mapping[str, Any]) -> ClipFaces:
    try:
        tracks = notes["tracks"] if NOTE in notes else []
        faces = tuple(_face(track) for track in tracks if "identity" in track)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise MseError(f"The notes of {clip.id} are damaged ({error}). Run `mse extract` again.") from error
    return ClipFaces(clip.id, clip.speaker, clip.dialogue, faces)


def _face(track: Mapping[str, Any]) -> Face:
    boxes = np.array(track["boxes"], np.float64).reshape(-1, 5)
    identity = from_text(track["identity"]).astype(np.float64)
    size = float(np.linalg.norm(identity))
    if not np.isfinite(size) or size == 0.0 or not np.isfinite(boxes).all() or not len(boxes):
        raise ValueError(f"track {track['track']} has no face")
    areas = (boxes[:, 3] - boxes[:, 1]) * (boxes[:, 4] - boxes[:, 2]) * _clarity(float(track.get("probability", 1.0)))
    return Face(int(track["track"]), boxes[:, 0].astype(np.int64), areas.clip(1e-6), identity / size)


def _clarity(probability: float) -> float:
    """How much a face counts: one that is seen from behind, or hardly a face, tells little about who speaks."""
    return float(np.clip((probability - _HARDLY) / (_CLEARLY - _HARDLY), 0.05, 1.0))


def _digest(utterances: list[ClipFaces], pins: Mapping[tuple[str, int], str]) -> str:
    digest = hashlib.blake2b(canonical(sorted([*key, name] for key, name in pins.items())), digest_size=16)
    for utterance in utterances:
        digest.update(
            canonical([utterance.clip, utterance.speaker, utterance.dialogue, [face.track for face in utterance.faces]])
        )
        for face in utterance.faces:
            digest.update(face.frames.tobytes() + face.areas.tobytes() + face.identity.tobytes())
    return digest.hexdigest()


def _choices(people: People, notes: Mapping[str, Mapping[str, Any]], keys: Mapping[str, str]) -> dict[str, Choice]:
    """The choice of each clip; clips without identities keep the face that was chosen for them alone."""
    if not people.persons:
        return {}
    choices = {}
    for clip, chosen in people.chosen.items():
        if "asked_for" in notes[clip] or NOTE not in notes[clip]:
            continue
        frames = {
            int(box[0])
            for track in notes[clip]["tracks"]
            if int(track["track"]) in chosen.tracks
            for box in track["boxes"]
        }
        choices[clip] = Choice(keys[clip], chosen.tracks, len(frames), chosen.doubt, chosen.code, chosen.message)
    return choices


def _strangers(pins: Mapping[tuple[str, int], str], utterances: list[ClipFaces]) -> list[str]:
    """Faces that the user gave a name, but that their clips do not have."""
    tracks_of = {utterance.clip: {face.track for face in utterance.faces} for utterance in utterances}
    return [f"track {track} of {clip}" for clip, track in pins if track not in tracks_of.get(clip, {track})]


def _about(people: People, utterances: list[ClipFaces]) -> dict[str, Any]:
    """What the gallery shows, as plain JSON."""
    named = [person for person in people.persons if person.name is not None]
    others = [person for person in people.persons if person.name is None][:_SHOWN_NOBODIES]
    return {
        "persons": [
            {
                **asdict(person),
                "faces": [list(face) for face in person.faces[:_SHOWN_FACES]],
                "tracks": len(person.faces),
            }
            for person in (*named, *others)
        ],
        "missing": [[name, sum(utterance.speaker == name for utterance in utterances)] for name in people.missing],
    }


def _sentences(stream: str, dataset: Dataset) -> list[str]:
    """Sentences about a stream's faces: where the speaker was not followed, and which names have no face."""
    native, choices = dataset.native(stream), dataset.choices(stream)
    alone = sum(choices.of(row) is None for row in native.rows.values())
    if not choices.clips:
        why = "no speaker is named" if not any(clip.speaker for clip in dataset.clips) else "its faces have no identity"
        return [f"{stream}: the largest face of each clip is followed, not the speaker's: {why}."] if alone else []
    sentences = []
    if strangers := choices.about.get("strangers"):
        sentences.append(
            f"{stream}: names were given to faces that do not exist, and have no effect: {enumerate_some(strangers)}."
        )
    if alone:
        why = "no speaker is named, or a face was chosen by hand"
        sentences.append(f"{stream}: in {alone} clips the face was chosen by that clip alone: {why}.")
    named = [person for person in choices.about.get("persons", []) if person["name"]]
    unsure, missing = sum(not person["sure"] for person in named), len(choices.about.get("missing", []))
    if unsure or missing:
        sentences.append(
            f"{stream}: {len(named)} names have a face, {unsure} of them a doubtful one; {missing} names have none. "
            f"See: mse inspect --people {dataset.name}"
        )
    return sentences
