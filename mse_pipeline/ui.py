"""A page in the browser over a cache and its runs: look at clips, read reports and predictions, predict a new clip.

Gradio serves it (the extra ``ui``). A page that is open to others is a way into this machine, so: it listens on
loopback alone unless told otherwise, what it reads are the datasets of one cache and the runs below one folder, chosen
by names that it looks up there again at each request, never by a path that a browser sends; uploads have a largest size
and are gone when the page ends. Nothing is fetched from elsewhere and nothing is told to anybody.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.store.dataset import Dataset

if TYPE_CHECKING:
    from mse_pipeline.prediction import Predictor
    from mse_pipeline.store.cache import Cache

MOST_CLIPS = 300
"""Clips that are offered at once; a search narrows them down."""
_SHOWN_ANSWERS = 10
_HOUR = 3600  # seconds, after which an upload is deleted
_ALL = "all"


class Places:
    """What the page may read: the datasets of a cache, and the run folders at some depth below a folder.

    Args:
        cache: The feature cache.
        runs: Folder of runs.
    """

    def __init__(self, cache: Cache, runs: Path) -> None:
        self.cache, self.runs = cache, runs

    def datasets(self) -> list[str]:
        """Names of the datasets."""
        return sorted(self.cache)

    def dataset(self, name: str) -> Dataset:
        """A dataset of the cache.

        Raises:
            UsageError: The cache has none of this name.
        """
        if name not in self.datasets():
            raise UsageError(f"There is no dataset {name!r} in {self.cache.path}.")
        return self.cache[name]

    def run_names(self) -> list[str]:
        """Names of the runs that have a trained seed, the newest first."""
        found = [path.parent for path in self.runs.glob("*/run.json") if any(path.parent.glob("seed-*/result.json"))]
        return [path.name for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)]

    def run(self, name: str) -> Path:
        """The folder of a run.

        Raises:
            UsageError: There is none of this name below the folder of runs.
        """
        if name not in self.run_names():
            raise UsageError(f"There is no run {name!r} below {self.runs}.")
        return self.runs / name


def clip_ids(dataset: Dataset, split: str = _ALL, search: str = "", *, failed: bool = False) -> tuple[list[str], int]:
    """Ids of the clips that are asked for, at most `MOST_CLIPS`, and how many there are.

    Args:
        dataset: Of the cache.
        split: Name of one, or all.
        search: Found in an id, a text or a label, whatever its case.
        failed: Those alone of which a stream has failed.
    """
    wanted = search.casefold().strip()
    broken: set[str] = set()
    if failed:
        broken = {row.clip for stream in dataset for row in dataset.rows(stream) if row.status == "failed"}
    found = [
        clip.id
        for clip in dataset.clips
        if split in (_ALL, str(clip.split))
        and (not failed or clip.id in broken)
        and (not wanted or wanted in f"{clip.id}\n{clip.text}\n{clip.label}".casefold())
    ]
    return found[:MOST_CLIPS], len(found)


def clip_page(dataset: Dataset, clip: str, root: Path | None) -> str:
    """The page of `mse inspect` on a clip, in a frame of its own that may run and load nothing.

    Raises:
        UsageError: The dataset has no such clip.
    """
    from mse_pipeline.inspection.collect import collect
    from mse_pipeline.inspection.picture import write_page

    page = base64.b64encode(write_page(collect(dataset, clip, root)).encode()).decode()
    return (
        f'<iframe title="{len(page)} bytes" sandbox="" style="width:100%;height:78vh;border:0;background:white" '
        f'src="data:text/html;charset=utf-8;base64,{page}"></iframe>'
    )


def predictions(run: Path, split: str, *, wrong: bool = False) -> tuple[list[str], list[list[Any]]]:
    """Header and rows of what a run's seeds have predicted of a split's clips.

    Args:
        run: Its folder.
        split: Name of one.
        wrong: Classes that are right are left out; numbers come with the largest error first.

    Raises:
        MseError: It has no predictions of the split.
    """
    from mse_pipeline.report.predicted import read_predicted
    from mse_pipeline.report.runs import find

    found = find([run], split)
    read, warnings = read_predicted(found.runs[0], split) if found.runs else (None, found.warnings)
    if read is None or not read.seeds:
        raise MseError(" ".join(warnings) or f"The run {run.name} has no predictions of its {split} split.")
    header = ["seed", "clip", "target", "prediction", *(["probability"] if read.labels else [])]
    rows: list[list[Any]] = []
    for seed, one in read.seeds.items():
        for place, (clip, target, answer) in enumerate(zip(one.clips, one.targets, one.predictions, strict=True)):
            if not read.labels:
                rows.append([seed, clip, target, round(answer, 3)])
            elif not (wrong and target == answer):
                share = "" if one.probabilities is None else round(one.probabilities[place][answer], 3)
                rows.append([seed, clip, read.labels[target], read.labels[answer], share])
    if wrong and not read.labels:
        rows.sort(key=lambda row: -abs(row[3] - row[2]))
    return header, rows


@lru_cache(maxsize=1)
def _predictor(run: Path, stamp: float) -> Predictor:
    """The run opened, as long as no other one is asked for; `stamp` is that of its configuration's file."""
    from mse_pipeline.prediction import Predictor

    return Predictor.open(run)


def predict(run: Path, media: Path, text: str) -> tuple[dict[str, float] | float, list[str]]:
    """Predict one file with a run.

    Returns:
        Probabilities by class, or the number; and what is to be told beside it.

    Raises:
        UsageError: Features as the run's cannot be made here.
        MseError: The file cannot be read.
    """
    predictor = _predictor(run, (run / "run.json").stat().st_mtime)
    clip = predictor.predict([media], texts={media: text} if text.strip() else None, workers=1)[0]
    told = [f"{remark.code}: {remark.message}" for remark in clip.remarks]
    if clip.prediction is None:
        raise MseError(f"Nothing could be predicted: {' '.join(told) or 'the file has nothing that the run reads.'}")
    if isinstance(clip.prediction, str):
        return dict(clip.probabilities), told
    return float(clip.prediction), [*told, f"deviation {clip.deviation or 0:.2f}"]


def build(places: Places, root: Path | None = None) -> Any:
    """The page, a `gradio.Blocks`.

    Args:
        places: What it may read.
        root: Folder that media paths start from; None for where each dataset's features were made from.

    Raises:
        UsageError: Gradio is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read at its import
    try:
        import gradio
    except ImportError as error:
        raise UsageError('mse ui needs gradio, which is not installed: pip install "mse-pipeline[ui]"') from error

    with gradio.Blocks(title="mse", analytics_enabled=False, delete_cache=(_HOUR, _HOUR)) as page:
        gradio.Markdown(f"# mse\n{places.cache.path} · {places.runs}")
        with gradio.Tab("Clips"):
            _clips_tab(gradio, page, places, root)
        with gradio.Tab("Runs"):
            _runs_tab(gradio, places)
        with gradio.Tab("Predict"):
            _predict_tab(gradio, places)
    return page


def theme() -> Any:
    """Gradio's own, with the fonts of the system: its others come from a server of Google."""
    import gradio

    return gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])


def _told(gradio: Any, error: Exception) -> Any:
    """An error of ours as the page shows it."""
    return gradio.Error(str(error), duration=None, print_exception=False)


def _clips_tab(gradio: Any, page: Any, places: Places, root: Path | None) -> None:
    names = places.datasets()
    with gradio.Row():
        dataset = gradio.Dropdown(names, value=names[0] if names else None, label="Dataset")
        split = gradio.Dropdown([_ALL, "train", "valid", "test"], value=_ALL, label="Split")
        search = gradio.Textbox(label="Search", placeholder="id, text or label")
        failed = gradio.Checkbox(label="with failures")
    clip = gradio.Dropdown([], label="Clip", allow_custom_value=False)
    shown = gradio.HTML()

    def listed(name: str | None, part: str, wanted: str, only: bool) -> Any:
        if not name:
            return gradio.Dropdown([], value=None, label="Clip (the cache is empty: mse extract)")
        try:
            ids, count = clip_ids(places.dataset(name), part, wanted, failed=only)
        except MseError as error:
            raise _told(gradio, error) from error
        more = f", the first {len(ids):,} of them are listed" if count > len(ids) else ""
        return gradio.Dropdown(ids, value=ids[0] if ids else None, label=f"Clip ({count:,}{more})")

    def looked(name: str | None, chosen: str | None) -> str:
        if not name or not chosen:
            return ""
        try:
            found = places.dataset(name)
            return clip_page(found, chosen, media_root(found, root))
        except MseError as error:
            raise _told(gradio, error) from error

    asked = [dataset, split, search, failed]
    gradio.on([one.change for one in asked], listed, asked, clip, api_name="clips")
    gradio.on([clip.change], looked, [dataset, clip], shown, api_name="clip")
    page.load(listed, asked, clip, api_visibility="private")


def media_root(dataset: Dataset, root: Path | None) -> Path | None:
    """Folder of a dataset's media: the one that is given, or where its features were made from, if it is there."""
    recorded = dataset.manifest.source.get("media_root")
    if root is None and isinstance(recorded, str) and "://" not in recorded:
        root = Path(recorded)
    return root if root is not None and root.is_dir() else None


def _runs_tab(gradio: Any, places: Places) -> None:
    from mse_pipeline import report

    with gradio.Row():
        split = gradio.Dropdown(["test", "valid"], value="test", label="Split")
        run = gradio.Dropdown(places.run_names(), value=None, label="Predictions of a run")
        wrong = gradio.Checkbox(label="wrong ones, or the largest errors first")
    tables = gradio.Markdown()
    clips = gradio.Dataframe(interactive=False, wrap=True)

    def reported(part: str) -> str:
        try:
            return report.to_markdown(report.build([places.runs], part))
        except MseError as error:
            return str(error)

    def listed(name: str | None, part: str, only: bool) -> Any:
        if not name:
            return None
        try:
            header, rows = predictions(places.run(name), part, wrong=only)
        except MseError as error:
            raise _told(gradio, error) from error
        return gradio.Dataframe(value={"headers": header, "data": rows})

    asked = [run, split, wrong]
    gradio.on([one.change for one in asked], listed, asked, clips, api_name="predictions")
    gradio.Button("Report").click(reported, split, tables, api_name="report")


def _predict_tab(gradio: Any, places: Places) -> None:
    names = places.run_names()
    with gradio.Row():
        with gradio.Column():
            run = gradio.Dropdown(names, value=names[0] if names else None, label="Run")
            media = gradio.File(label="A video or sound file", type="filepath", file_count="single")
            camera = gradio.Video(label="or record one", sources=["webcam"], include_audio=True)
            text = gradio.Textbox(label="What is said")
            button = gradio.Button("Predict", variant="primary")
        with gradio.Column():
            answer = gradio.Label(label="Prediction", num_top_classes=_SHOWN_ANSWERS)
            told = gradio.Markdown()

    def predicted(name: str | None, given: str | None, recorded: str | None, words: str | None) -> Any:
        try:
            if not name:
                raise UsageError("Choose a run first; mse train makes one.")
            if not (given or recorded):
                raise UsageError("Choose a file, or record one.")
            found, remarks = predict(places.run(name), Path(given or recorded or ""), words or "")
        except MseError as error:
            raise _told(gradio, error) from error
        value = f"{found:+.1f}" if isinstance(found, float) else found
        return value, "\n".join(f"- {_escaped(remark)}" for remark in remarks)

    button.click(predicted, [run, media, camera, text], [answer, told], api_name="predict", concurrency_limit=1)


def _escaped(text: str) -> str:
    """A text in Markdown, as it is."""
    return "".join(f"\\{sign}" if sign in r"\`*_{}[]()#+-.!|<>&" else sign for sign in text)


def serve(
    places: Places, *, root: Path | None = None, host: str = "127.0.0.1", port: int | None = None, megabytes: int = 500
) -> tuple[Any, str]:
    """Serve the page until it is closed.

    Args:
        places: What it may read.
        root: As of `build`.
        host: Address to listen on.
        port: Port; None for the first that is free from 7860.
        megabytes: Largest size of an upload.

    Returns:
        The page, whose `close` ends it, and its address.

    Raises:
        UsageError: Gradio is not installed, or the port is taken.
    """
    page = build(places, root)
    try:
        _, address, _ = page.launch(
            server_name=host,
            server_port=port,
            share=False,
            max_file_size=megabytes * 1024 * 1024,
            prevent_thread_lock=True,
            quiet=True,
            allowed_paths=[],
            theme=theme(),
            footer_links=[],
            enable_monitoring=False,
            ssr_mode=False,  # or Node.js would be started, where it is installed
        )
    except OSError as error:
        raise UsageError(f"Nothing can be served at {host}, port {port}: {error}. Give another --port.") from error
    return page, address


def described(places: Places) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What the page may read, for who starts it."""
    yield "cache", {"path": str(places.cache.path), "datasets": places.datasets()}
    yield "runs", {"path": str(places.runs), "runs": places.run_names()}
