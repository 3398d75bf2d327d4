"""The catalogue: what is known of each dataset before anything of it is on the disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mse_pipeline import corpora
from mse_pipeline.errors import UsageError, did_you_mean


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A dataset.

    Attributes:
        name: As the commands call it.
        title: As its paper calls it, with the paper.
        task: What is to be predicted.
        language: ISO 639-1 code of what is said; empty for any.
        labels: Classes in their canonical order, or the range and what else is annotated.
        splits: Official number of clips of train, valid and test; empty where there is none.
        splits_from: Who counts so, and what else is about.
        licence: On what terms it is given away.
        source: Where it is to be had.
        layouts: What a root folder may look like, most usual first.
        defects: What is known to be wrong with it.
    """

    name: str
    title: str
    task: str
    language: str
    labels: str
    splits: Mapping[str, int] = field(default_factory=dict)
    splits_from: str = ""
    licence: str
    source: str
    layouts: tuple[str, ...]
    defects: tuple[str, ...] = ()

    @property
    def supported(self) -> bool:
        """Whether a reader for its raw folder is installed."""
        return self.name in corpora.available()


_SENTIMENT = "sentiment -3 to 3"
_MMSA = "label.csv (video_id, clip_id, text, label, mode …) + Raw/VIDEO/CLIP.mp4"
_RESEARCH = "for research, on the authors' terms; the videos belong to who made them"

ENTRIES: tuple[Entry, ...] = (
    Entry(
        name="meld",
        title="MELD: dialogues of the series Friends (Poria et al. 2019)",
        task="classification, 7 emotions (or 3 sentiments)",
        language="en",
        labels="neutral, surprise, fear, sadness, joy, disgust, anger",
        splits={"train": 9989, "valid": 1109, "test": 2610},
        splits_from="the label files of declare-lab/MELD",
        licence="GPL-3.0 (declare-lab/MELD); the clips are of a television series, for research",
        source="https://huggingface.co/datasets/declare-lab/MELD/resolve/main/MELD.Raw.tar.gz (10.9 GB; three archives "
        "within it must be unpacked as well)",
        layouts=(
            "*_sent_emo.csv + train_splits, dev_splits_complete, output_repeated_splits_test, at any depth",
            "one folder a split named train, dev (val, valid), test, with or without _splits",
        ),
        defects=(
            "dev/dia110_utt7 is annotated but absent; train/dia125_utt3 cannot be decoded",
            "132 test utterances have two files, of which final_videos_test… is right",
            "9 clips are there that nobody annotated; some clips are minutes long, noisy or off by one utterance",
            "label files of 2018 hold damaged quotes and dashes, which are repaired",
        ),
    ),
    Entry(
        name="mosei",
        title="CMU-MOSEI: monologues from YouTube (Zadeh et al. 2018)",
        task=f"regression, {_SENTIMENT}",
        language="en",
        labels=f"{_SENTIMENT}, a multiple of 1/3; happy, sad, anger, surprise, disgust, fear 0 to 3",
        splits={"train": 16326, "valid": 1871, "test": 4659},
        splits_from="MMSA's label.csv (22,856 clips); the .csd labels hold 23,259 segments, the paper tells 23,453",
        licence=_RESEARCH,
        source="CMU-MultimodalSDK (the old CMU_MOSEI.zip is no longer offered); MMSA's copy on Google Drive, folder "
        "1A2S4pqCHryGmiqnNSPLv7rEg63WvjCSk, or Baidu 1a1bDX5htPsZjsRyHcvCKHw (qq0b)",
        layouts=(
            _MMSA,
            "Raw/Videos/Segmented/Combined/VIDEO_N.mp4 + Raw/Transcript + labels",
            "Raw/Videos/Full/Combined/VIDEO.mp4 + Raw/Transcript, cut by the transcripts' spans",
        ),
        defects=(
            "some segments begin before their video, others overlap",
            "hundreds of segmented files are missing from the old archive, and some videos are wrongly timed",
        ),
    ),
    Entry(
        name="simsv2",
        title="CH-SIMS v2.0: films, series and shows in Mandarin (Liu et al. 2022)",
        task="regression, sentiment -1 to 1",
        language="zh",
        labels="sentiment -1 to 1 in steps of 0.2, also of text, sound and picture alone",
        splits={"train": 2722, "valid": 647, "test": 1034},
        splits_from="meta.csv (4,403 clips; the paper tells 4,402); the unsupervised part has 10,161 clips",
        licence=_RESEARCH,
        source="Google Drive folder 1wFvGS0ebKRvT3q6Xolot-sDtCNfz7HRA or Baidu 13Ds2_XDIGUqMHt4lXNLQSQ (icmi); "
        "unsupervised: 1llIbm3gwyJRwwk58RUQHWBNKjHI9vGGB or 1tezEDR3Y23hJ6Mp5fmcp-w (icmi)",
        layouts=(
            "ch-simsv2s/meta.csv + ch-simsv2s/Raw/VIDEO/CLIP.mp4",
            "CH-SIMS v2/CH-SIMS v2(s)/… and CH-SIMS v2(u)/…",
        ),
        defects=("one clip more than its paper tells; its author says that train should be 2,721",),
    ),
    Entry(
        name="cherma",
        title="CHERMA: Chinese emotion recognition with modality annotations (Sun et al. 2023)",
        task="classification, 7 emotions",
        language="zh",
        labels="愤怒 anger, 厌恶 disgust, 恐惧 fear, 高兴 happy, 平静 neutral, 悲伤 sad, 惊奇 surprise; "
        "also of text, sound and picture alone",
        splits_from="the paper tells 28,717 utterances, 6:2:2; no official count a split is published",
        licence="none stated",
        source="features and label files: https://pan.baidu.com/s/10PoJcXMDhRg4fzsq96A7rQ (CHER); the raw media are "
        "not public",
        layouts=("train.json, dev.json, test.json + a folder of the media", "CHERMA0723 with text, audio and visual"),
        defects=("forks number the classes in another order: labels are read by name",),
    ),
    Entry(
        name="mosi",
        title="CMU-MOSI: opinions from YouTube (Zadeh et al. 2016)",
        task=f"regression, {_SENTIMENT}",
        language="en",
        labels=_SENTIMENT,
        splits={"train": 1284, "valid": 229, "test": 686},
        splits_from="the standard folds of CMU-MultimodalSDK (52, 10 and 31 videos)",
        licence=_RESEARCH,
        source="CMU-MultimodalSDK, or MMSA's copy beside its MOSEI",
        layouts=(_MMSA, "Raw/Video/Segmented/VIDEO_N.mp4 + Raw/Transcript/Segmented/VIDEO.annotprocessed"),
        defects=("the full video c5xsKMxpXnc is damaged (CMU-MultimodalSDK issue 217)",),
    ),
    Entry(
        name="sims",
        title="CH-SIMS: films and series in Mandarin (Yu et al. 2020)",
        task="regression, sentiment -1 to 1",
        language="zh",
        labels="sentiment -1 to 1 in steps of 0.2, also of text, sound and picture alone",
        splits={"train": 1368, "valid": 456, "test": 457},
        splits_from="label.csv of MMSA",
        licence=_RESEARCH,
        source="MMSA's copy beside its MOSEI",
        layouts=("label.csv + Raw/video_0001/0001.mp4",),
        defects=("ids have leading zeros that spreadsheets drop",),
    ),
    Entry(
        name="iemocap",
        title="IEMOCAP: acted dialogues of pairs (Busso et al. 2008)",
        task="classification, 6 emotions",
        language="en",
        labels="hap, sad, neu, ang, exc, fru; also valence, activation and dominance 1 to 5",
        splits_from="there are none; usual is session 5 as test, with 5,810 and 1,623 utterances of six classes",
        licence="signed agreement with the University of Southern California",
        source="https://sail.usc.edu/iemocap/ on request",
        layouts=("Session1 to Session5 with dialog/EmoEvaluation, dialog/transcriptions, dialog/avi, sentences/wav",),
        defects=("pictures show both speakers side by side", "2,507 of 10,039 utterances have no majority (xxx)"),
    ),
    Entry(
        name="table",
        title="Anyone's data: a table beside the media that it names",
        task="what its labels are",
        language="",
        labels="texts are classes, numbers a regression",
        licence="yours",
        source="made by hand, or by mse datasets export",
        layouts=("clips.csv, clips.tsv or clips.parquet with the columns id, media, split, text, label",),
    ),
)


def find(name: str) -> Entry:
    """A dataset by its name.

    Raises:
        UsageError: There is no such dataset.

    Examples:
        >>> find("meld").splits["test"]
        2610
    """
    by_name = {entry.name: entry for entry in ENTRIES}
    if name not in by_name:
        raise UsageError(f"There is no dataset {name!r}{did_you_mean(name, by_name)}. Known are {', '.join(by_name)}.")
    return by_name[name]
