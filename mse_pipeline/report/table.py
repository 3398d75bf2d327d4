"""Tables of runs: a row a run, a column a metric, mean ± sample sd over seeds, beside the published numbers.

`build` reads run folders into a Report, which has a table a dataset and all that its formats show.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mse_pipeline import metrics
from mse_pipeline.errors import MseError, UsageError, did_you_mean
from mse_pipeline.recipe import PromptSection, Training
from mse_pipeline.report.bootstrap import Comparison, compare
from mse_pipeline.report.predicted import NOTHING, ClassTable, Predicted, read_predicted
from mse_pipeline.report.published import PublishedRow, published
from mse_pipeline.report.runs import ADAPTER, RunGroup, find, shown
from mse_pipeline.report.subset import labels_changed, of_valid, rescored, select_all

if TYPE_CHECKING:
    from mse_pipeline.store.cache import Cache


TITLES = {
    "Has0_acc_2": "Has0 Acc2",
    "Has0_F1_score": "Has0 F1",
    "Non0_acc_2": "Non0 Acc2",
    "Non0_F1_score": "Non0 F1",
    "Mult_acc_2": "Acc2",
    "Mult_acc_2_weak": "weak Acc2",
    "Mult_acc_3": "Acc3",
    "Mult_acc_5": "Acc5",
    "Mult_acc_7": "Acc7",
    "F1_score": "F1",
    "R_squre": "R²",
    "R2": "R²",
    "acc": "Acc",
    "weight_F1": "weighted F1",
    "macro_F1": "macro F1",
}
"""What a metric is called in a heading, where that is not its key."""
PARTIAL = "†"
"""Mark of rows that cover less than 90 % of a split."""
COLLAPSED = "‡"
"""Mark of rows with a seed that gives all clips the same answer."""
ECE = "ECE"
"""The expected calibration error, a share of which less is better; no metric of a family."""
ABLATIONS = ("acoustic", "visual", "tgm", "msf", "text")
"""What a run can be without, in the order of rows."""
NO_BACKBONE = "none"
"""What stands in the place of a backbone for a model that answers itself."""
_HAS_COLLAPSED = "the model has collapsed"
"""Words of `metrics.alarms`."""
FLOOR = "linear"
"""The model that any other one has to beat."""


@dataclass(frozen=True)
class Column:
    """One metric.

    Attributes:
        key: Its name in `metrics.evaluate`.
        error: Whether it is an error in label units, of which less is better; else a share, shown in percent.
    """

    key: str
    error: bool

    @property
    def name(self) -> str:
        """What the metric is called, as in ``Has0 Acc2``."""
        return TITLES.get(self.key, self.key)

    @property
    def title(self) -> str:
        """Heading with the direction that is better, as in ``MAE ↓``."""
        return f"{self.name} {'↓' if self.error else '↑'}"

    def number(self, value: float) -> str:
        """A value as the field prints it: percent with two decimals, errors with four.

        Examples:
            >>> Column("acc", error=False).number(0.66234), Column("MAE", error=True).number(0.5147)
            ('66.23', '0.5147')
        """
        if math.isnan(value):
            return "nan"
        return f"{value:.4f}" if self.error else f"{100 * value:.2f}"

    def text(self, cell: Cell) -> str:
        """A cell as ``66.23 ± 1.22``; the mean alone where there is no deviation."""
        return self.number(cell.mean) + ("" if cell.sd is None else f" ± {self.number(cell.sd)}")


@dataclass(frozen=True)
class Cell:
    """Mean and sample standard deviation (n - 1) over seeds; `sd` is None where there is one seed.

    A mean is NaN where the metric is not defined for one of the seeds. `best`: no other run of ours is better.
    """

    mean: float
    sd: float | None = None
    best: bool = False


@dataclass(frozen=True)
class ResultRow:
    """A run of ours.

    Attributes:
        run: Its folder.
        cells: By metric.
        predicted: What it predicted.
        other_data: Rows of its table are of other clips, labels or texts.
        settings: Setting of the training, or ``prompt.`` and one of the prompt -> its value, of those in which the rows
            of its table differ.
        calibration: Cells by measure, as ``ECE``.
        comparison: Against the best row of the same data, where it was asked for; None for that row itself.
        zeros: Share of predictions that are exactly 0, where metrics of both Has0 and Non0 are told.
        zero_targets: Share of such targets.
    """

    run: RunGroup
    cells: Mapping[str, Cell]
    predicted: Predicted = NOTHING
    other_data: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    calibration: Mapping[str, Cell] = field(default_factory=dict)
    comparison: Comparison | None = None
    zeros: Cell | None = None
    zero_targets: float | None = None

    @property
    def classes(self) -> ClassTable | None:
        """Its scores a class; None for numbers."""
        return self.predicted.classes

    @property
    def collapsed(self) -> tuple[int, ...]:
        """Seeds that give all clips the same answer, by their predictions; by what they tell where these are absent."""
        seen = {**dict.fromkeys(self.predicted.seeds, False), **dict.fromkeys(self.predicted.collapsed, True)}
        told = {seed.seed: any(_HAS_COLLAPSED in alarm for alarm in seed.alarms) for seed in self.run.seeds}
        return tuple(seed for seed in told if seen.get(seed, told[seed]))

    @property
    def partial(self) -> bool:
        """Whether clips are left out, or lack a stream, so that the row is not one of the whole dataset."""
        return self.run.coverage is not None and bool(self.run.coverage.shortcomings())

    @property
    def mark(self) -> str:
        """What stands before the run's name: a row with a mark is not to be compared as it stands."""
        marks = PARTIAL * self.partial + COLLAPSED * bool(self.collapsed)
        return f"{marks} " if marks else ""

    @property
    def title(self) -> str:
        """What was trained, in a word or two: the variant of the adapter, or the model."""
        return self.run.variant if self.run.model == ADAPTER else self.run.model

    @property
    def reads(self) -> str:
        """What the run is made of, as in ``tiny · text + egemaps + mtcnn · encoder lstm``."""
        return self.describe()

    def describe(self, longest: int = 80) -> str:
        """The same, with settings of at most so many characters; 0 for none of them."""
        # A backbone may be named by its folder or hub address, of which the last part tells most.
        backbone = self.run.backbone.rstrip("/").rsplit("/", 1)[-1]
        if self.run.model != ADAPTER:
            backbone = self.run.model if backbone == NO_BACKBONE else f"{self.run.model} · {backbone}"
        backbone += f" · where {self.run.where}" if self.run.where else ""
        backbone += f" · data {self.run.labelled or 'not told'}" if self.other_data else ""
        variant, missing = self.run.variant, left_out(self.run.variant)
        said = f"text: {self.run.heard}" if self.run.heard else "text"
        if variant.startswith("text-only") or not self.run.streams:
            named = variant if self.run.heard == "" and variant != "text-only" else variant.replace("text-only", said)
            text = f"{backbone} · {named}"
        else:
            names = [] if "text" in missing else [said]
            names += [stream.rsplit(".", 1)[-1] for stream in self.run.streams.values()]
            text = f"{backbone} · {' + '.join(names)}"
            text += "" if variant == "adapter" else f" ({variant})"
        told = self.describe_settings(longest) if longest else ""
        return f"{text} · {told}" if told else text

    def describe_settings(self, longest: int = 80) -> str:
        """The settings that are not the same in all rows, as ``encoder lstm, dropout 0.2``."""
        told = {name.removeprefix(_OPTIONS): shown(str(value), longest) for name, value in self.settings.items()}
        return ", ".join(f"{name} {value}" for name, value in told.items())


def labels(rows: Sequence[ResultRow], longest: int = 24) -> list[str]:
    """What rows are called where their folders mean nothing, as in a paper: what tells each from the others.

    That is the variant or model; of rows that share it, the backbone and what they read, the settings that differ, or
    both; and where that is the same, too, the digest in the folder's name.

    Args:
        rows: Of one table.
        longest: Most characters of a setting.
    """

    def with_settings(row: ResultRow) -> str:
        told = row.describe_settings(longest)
        return f"{row.title} · {told}" if told else row.title

    named: dict[str, str] = {}
    for title in {row.title for row in rows}:
        alike = [row for row in rows if row.title == title]
        made_of = [row.describe(0) for row in alike]
        ways = [[title], made_of, [with_settings(row) for row in alike] if len(set(made_of)) == 1 else []]
        whole = [row.describe(longest) for row in alike]
        texts = next((way for way in ways if len(set(way)) == len(alike)), whole)
        count = Counter(texts)
        for row, text in zip(alike, texts, strict=True):
            named[str(row.run.path)] = text if count[text] == 1 else f"{title} {row.run.config_digest[:8]}"
    return [named[str(row.run.path)] for row in rows]


def left_out(variant: str) -> tuple[str, ...]:
    """What a run is without, by its variant.

    Examples:
        >>> left_out("without visual+tgm"), left_out("text-only"), left_out("adapter")
        (('visual', 'tgm'), (), ())
    """
    return tuple(variant.partition("without ")[2].split("+")) if "without " in variant else ()


def _place(variant: str) -> tuple[int, int, tuple[int, ...], str]:
    """Where a variant stands among those of one backbone: whole adapter, one thing left out, several, text only."""
    missing = left_out(variant)
    group = 0 if variant == "adapter" else 2 if variant.startswith("text-only") else 1 if missing else 3
    order = tuple(ABLATIONS.index(name) if name in ABLATIONS else len(ABLATIONS) for name in missing)
    return group, len(missing), order, variant


@dataclass(frozen=True)
class ResultTable:
    """Runs of one dataset, and what was published on it.

    Attributes:
        dataset: As in ``meld``.
        kind: First argument of `metrics.evaluate`.
        columns: The metrics, in the order of `metrics.evaluate`.
        rows: Runs with at least one finished seed. Those of one backbone stand together: the whole adapter, then the
            ablations, then the text alone; otherwise best first by the metric that selects epochs.
        published: The method's own published seeds first, then other systems, then further runs of its authors; best
            first.
        pending: Runs without a finished seed.
        split: Whose results these are; published rows are of the test split alone.
    """

    dataset: str
    kind: str
    columns: tuple[Column, ...]
    rows: tuple[ResultRow, ...]
    published: tuple[PublishedRow, ...]
    pending: tuple[RunGroup, ...] = ()
    split: str = "test"

    @property
    def comparable(self) -> tuple[PublishedRow, ...]:
        """The published rows that have a metric of ours."""
        return tuple(row for row in self.published if any(column.key in row.mean for column in self.columns))

    @property
    def has_zeros(self) -> bool:
        """Whether a run tells how often it predicts exactly 0."""
        return any(row.zeros is not None for row in self.rows)

    @property
    def runs(self) -> tuple[RunGroup, ...]:
        """All runs, finished or not."""
        return (*(row.run for row in self.rows), *self.pending)


def tables(
    runs: Iterable[RunGroup], predicted: Mapping[str, Predicted] | None = None, split: str = "test"
) -> tuple[ResultTable, ...]:
    """One table a dataset and sort of metrics, in alphabetical order.

    Args:
        runs: From `runs.find`, for the same split.
        predicted: Path of a run, as text -> what it predicted.
        split: Whose results are shown.
    """
    groups: dict[tuple[str, str], list[RunGroup]] = {}
    for run in runs:
        groups.setdefault((run.dataset, run.kind), []).append(run)
    return tuple(_table(*key, groups[key], predicted or {}, split) for key in sorted(groups))


def _table(
    dataset: str, kind: str, runs: Sequence[RunGroup], predicted: Mapping[str, Predicted], split: str
) -> ResultTable:
    settings = _differing([run for run in runs if run.seeds])
    rows = [
        ResultRow(
            run,
            _cells([seed.scores(split) for seed in run.seeds]),
            predicted.get(str(run.path), NOTHING),
            settings=settings[str(run.path)],
            calibration=_cells([seed.calibration for seed in run.seeds]),
        )
        for run in runs
        if run.seeds
    ]
    rows = [_with_zeros(row) for row in rows]
    keys = dict.fromkeys(key for row in rows for seed in row.run.seeds for key in seed.scores(split))
    columns = tuple(Column(key, key in metrics.errors(kind)) for key in keys)
    groups: dict[str, list[ResultRow]] = {}
    for row in rows:
        groups.setdefault(row.run.labelled, []).append(replace(row, other_data=len({r.run.labelled for r in rows}) > 1))
    rows = [row for group in groups.values() for row in _best(group, columns)]
    first, higher = metrics.primary(kind)

    def rank(mean: float | None) -> float:
        return math.inf if mean is None or math.isnan(mean) else -mean if higher else mean

    def score(row: ResultRow) -> float:
        return rank(row.cells[first].mean if first in row.cells else None)

    best: dict[str, float] = {}
    for row in rows:
        best[row.run.backbone] = min(score(row), best.get(row.run.backbone, math.inf))
    rows.sort(key=lambda row: (best[row.run.backbone], row.run.backbone, _place(row.run.variant), score(row)))
    # Published rows are in the units and keys of the dataset's own metrics, and comparable with nothing else.
    others = published(dataset) if kind == dataset and split == "test" else ()
    others = tuple(sorted(others, key=lambda row: (not row.own, row.further, rank(row.mean.get(first)))))
    return ResultTable(dataset, kind, columns, tuple(rows), others, tuple(run for run in runs if not run.seeds), split)


_PROMPT, _OPTIONS = "prompt.", "model_options."
"""How the names of the prompt's settings begin, and those of a model's options."""


def _differing(runs: Sequence[RunGroup]) -> dict[str, dict[str, Any]]:
    """Path of a run -> its settings of the training and of the prompt, of those that are not the same in all runs.

    Runs of one model are compared: what another one is set to says nothing of them. A run does not store what is the
    default, which is told here all the same.
    """
    given: dict[str, dict[str, Any]] = {}
    for run in runs:
        sections = ((prefix, run.config.get(section)) for section, prefix in (("training", ""), ("prompt", _PROMPT)))
        given[str(run.path)] = {
            f"{prefix}{name}": value
            for prefix, settings in sections
            if isinstance(settings, dict)
            for name, value in _flat(settings).items()
        }
    # Seeds are columns, and the model is told with what a row reads.
    names = sorted({name for settings in given.values() for name in settings} - {"seeds", "model"})
    defaults = {
        f"{prefix}{name}": one.get_default(call_default_factory=True)
        for schema, prefix in ((Training, ""), (PromptSection, _PROMPT))
        for name, one in schema.model_fields.items()
    }
    # An option of a model that a run does not store is at that model's own default.
    defaults = {name: defaults.get(name, "default" if name.startswith(_OPTIONS) else None) for name in names}
    whole = {path: {name: settings.get(name, defaults[name]) for name in names} for path, settings in given.items()}
    alike: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        alike.setdefault(run.model, []).append(whole[str(run.path)])
    differ = {
        model: [name for name in names if any(one[name] != every[0][name] for one in every)]
        for model, every in alike.items()
    }
    return {str(run.path): {shown(name): whole[str(run.path)][name] for name in differ[run.model]} for run in runs}


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with the options of the model as settings of their own."""
    options = settings.get(_OPTIONS.rstrip("."))
    if not isinstance(options, Mapping):
        return dict(settings)
    others = {name: value for name, value in settings.items() if value is not options}
    return others | {f"{_OPTIONS}{name}": value for name, value in options.items()}


def _with_zeros(row: ResultRow) -> ResultRow:
    """A row with its share of exact zeros, where there are two readings of 0 among its metrics."""
    if not row.predicted.seeds or not {"Has0_acc_2", "Non0_acc_2"} <= row.cells.keys():
        return row
    shares, targets = row.predicted.zeros()
    return replace(row, zeros=_cell(shares), zero_targets=targets)


def _cell(values: Sequence[float]) -> Cell:
    """Mean and deviation of values over seeds."""
    if not all(map(math.isfinite, values)):
        return Cell(math.nan)
    return Cell(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


def _cells(seeds: Sequence[Mapping[str, float]]) -> dict[str, Cell]:
    """A metric that is missing in one of the seeds has no cell: its mean would be that of other seeds."""
    return {key: _cell([seed[key] for seed in seeds]) for key in seeds[0] if all(key in seed for seed in seeds)}


def _best(rows: Sequence[ResultRow], columns: Sequence[Column]) -> list[ResultRow]:
    """Mark the best of rows on the same data; those that cover too little are not compared with the others."""
    whole, partial = ([row for row in rows if row.partial == wanted] for wanted in (False, True))
    for column in columns if len(whole) > 1 else ():
        whole = _mark_best(whole, column)
    return [*whole, *partial]


def _mark_best(rows: Sequence[ResultRow], column: Column) -> list[ResultRow]:
    """Runs that look alike in print are alike: all of them are marked."""
    means = [row.cells[column.key].mean for row in rows if column.key in row.cells]
    means = [mean for mean in means if not math.isnan(mean)]
    if not means:
        return list(rows)
    best = column.number(min(means) if column.error else max(means))
    marked = []
    for row in rows:
        cell = row.cells.get(column.key)
        if cell is None or column.number(cell.mean) != best:
            marked.append(row)
        else:
            marked.append(replace(row, cells={**row.cells, column.key: replace(cell, best=True)}))
    return marked


@dataclass(frozen=True)
class Report:
    """Tables by dataset, and sentences on what a reader of them must know.

    Attributes:
        tables: One a dataset.
        notes: On the runs: seeds that are not in the means, signs of collapse.
        warnings: On the files: folders and predictions that could not be read.
        where: By dataset the clips that the scores are of, as `Selection.to_plain` has them; empty for all clips.
    """

    tables: tuple[ResultTable, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    where: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def build(
    paths: Iterable[str | Path],
    split: str = "test",
    *,
    where: str | None = None,
    cache: Cache | None = None,
    draws: int = 0,
    sort: str | None = None,
) -> Report:
    """Reads runs and sets them beside each other and the published numbers.

    Args:
        paths: Run folders, or folders of them (as ``runs``).
        split: Whose results are shown, ``test`` or ``valid``.
        where: Scores are of the clips that meet this condition alone, see `mse_pipeline.store.where`, and stand beside
            no published ones, which are of all; None for all clips.
        cache: Where the datasets of the runs are, for `where`; None for the default.
        draws: Of a paired bootstrap of each row against the best one; 0 for none.
        sort: What orders the runs of a table, see `sorted_by`; None for backbone and ablation.

    Raises:
        UsageError: There is no run below any of the paths, no such split, nothing of that name to sort by, or the
            condition cannot be used.
    """
    if split not in {"valid", "test"}:
        raise UsageError(f"A report is of the split valid or test, not {shown(split)}.")
    paths = [paths] if isinstance(paths, str | Path) else list(paths)
    listing = find(paths, split)
    if not listing.runs:
        raise UsageError(
            " ".join(["There is no run to report; `mse train` makes one under runs/.", *listing.warnings[:5]])
        )
    warnings = list(listing.warnings)
    selections = {} if where is None else select_all(listing.runs, where, cache)
    kept = {name: selection.kept for name, selection in selections.items()}
    runs = list(listing.runs)
    if kept:
        runs = [rescored(run, split, kept[run.dataset]) for run in runs]
        warnings += labels_changed(listing.runs, split, cache)
    elif split == "valid":
        runs = [of_valid(run) for run in runs]
    predicted: dict[str, Predicted] = {}
    for run in runs:
        predicted[str(run.path)], unread = read_predicted(run, split, kept.get(run.dataset))
        warnings += unread
    built = tables(runs, predicted, split)
    if kept:
        built = tuple(replace(table, published=()) for table in built)
    if sort is not None:
        built = sorted_by(built, sort)
    if draws:
        built = tuple(_compared(table, draws, kept.get(table.dataset), warnings) for table in built)
    notes = [sentence for one in selections.values() for sentence in (one.sentence(), *one.remarks)]
    every = [run for table in built for run in table.runs]
    notes += [*_not_averaged(every), *(note for run in every for note in _collapsed(run))]
    plain = {name: selection.to_plain() for name, selection in selections.items()}
    return Report(built, tuple(notes), tuple(warnings), plain)


SORTS: Mapping[str, Callable[[ResultRow], Any]] = {
    "name": lambda row: row.run.name,
    "created": lambda row: row.run.created,
    "parameters": lambda row: row.run.trainable_parameters,
    "seconds": lambda row: row.run.epoch_seconds,
}
"""What rows can be sorted by beside a metric: ascending, those that do not tell it last."""


def sorted_by(tables: Sequence[ResultTable], key: str) -> tuple[ResultTable, ...]:
    """Tables with their runs in another order; a table that has no such metric stays as it is.

    Args:
        tables: The tables.
        key: A metric by its key or heading, best first; ``ECE``; or one of `SORTS`.

    Raises:
        UsageError: No table has such a metric.
    """
    wanted = key.casefold()
    known = {name: name for table in tables for column in table.columns for name in (column.key, column.name)}
    known |= {name: name for name in (ECE, *SORTS)}
    if wanted not in {name.casefold() for name in known}:
        keys = dict.fromkeys(column.key for table in tables for column in table.columns)
        raise UsageError(
            f"--sort {shown(key)}: no run has such a metric{did_you_mean(key, known)}; there are "
            f"{', '.join([*keys, ECE, *SORTS])}."
        )
    return tuple(replace(table, rows=tuple(sorted(table.rows, key=_order_of(table, wanted)))) for table in tables)


def _order_of(table: ResultTable, wanted: str) -> Callable[[ResultRow], tuple[bool, Any]]:
    """The key by which the rows of a table are sorted: whether a row does not tell it, and what it tells."""
    column = next((c for c in table.columns if wanted in {c.key.casefold(), c.name.casefold()}), None)

    def order(row: ResultRow) -> tuple[bool, Any]:
        if wanted in SORTS:
            value = SORTS[wanted](row)
            return value is None, 0 if value is None else value
        cell = row.calibration.get(ECE) if column is None else row.cells.get(column.key)
        if (wanted != ECE.casefold() and column is None) or cell is None or math.isnan(cell.mean):
            return True, 0
        return False, cell.mean if column is None or column.error else -cell.mean

    return order


def _compared(table: ResultTable, draws: int, only: Collection[str] | None, warnings: list[str]) -> ResultTable:
    """The table with each row compared with the best one on the same data, by the metric that chooses epochs."""
    first, higher = metrics.primary(table.kind)
    rows = []
    for row in table.rows:
        rivals = [one for one in table.rows if one.run.labelled == row.run.labelled and not one.partial]
        rivals = [one for one in rivals if first in one.cells and not math.isnan(one.cells[first].mean)]
        best = max(rivals, key=lambda one: one.cells[first].mean * (1 if higher else -1), default=row)
        if best is not row:
            try:
                row = replace(row, comparison=compare(row.run, best.run, table.split, draws, only=only))  # noqa: PLW2901
            except MseError as error:
                warnings.append(str(error))
        rows.append(row)
    return replace(table, rows=tuple(rows))


def _not_averaged(runs: Sequence[RunGroup]) -> list[str]:
    """Which seeds do not count: a sentence for each reason, however many seeds and runs it is of."""
    found: dict[str, dict[str, list[str]]] = {}
    for run in runs:
        for seed, reason in run.unfinished.items():
            found.setdefault(reason, {}).setdefault(run.name, []).append(seed)
    notes = []
    for reason, seeds_of in found.items():
        seeds = [seed for names in seeds_of.values() for seed in names]
        who = f"{', '.join(seeds_of)}, {', '.join(seeds)}"
        if len(seeds_of) > 1:
            who = f"{len(seeds)} seeds of {len(seeds_of)} runs ({', '.join(seeds_of)})"
        notes.append(f"{who}: {reason}; not averaged.")
    return notes


def _collapsed(run: RunGroup) -> list[str]:
    alarms: dict[str, list[int]] = {}
    for result in run.seeds:
        for alarm in result.alarms:
            alarms.setdefault(alarm, []).append(result.seed)
    return [f"{run.name}, seed {', '.join(map(str, seeds))}: {alarm}" for alarm, seeds in alarms.items()]
