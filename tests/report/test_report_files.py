"""What is written to files: LaTeX and CSV, by the ending; marks of collapse and exact zeros in each format."""

import csv
import io
import json
import re

import pytest

from mse_pipeline import metrics
from mse_pipeline.errors import UsageError
from mse_pipeline.report import build, formats, to_json, to_markdown
from mse_pipeline.report.formats.latex import escape, to_latex
from mse_pipeline.report.formats.sheet import to_csv
from mse_pipeline.report.table import labels
from tests.report.test_report_forms import terminal

EVIL = r"a_b & 50% #1 $x$ {y} ~^\ <i> | -- 情感"


def mosei(mae):
    return {**metrics.evaluate("mosei", [1, -1, 0.5], [0.5, -1, 1]), "MAE": mae}


@pytest.fixture
def report(folders):
    """A run of numbers with a collapsed seed, another one, and one of classes whose names are hostile."""
    first = folders.add("one", dataset="mosei", metrics="mosei", seeds=[mosei(0.5), mosei(0.6)])
    folders.predictions(first / "seed-1", [0.0, 1.0, -1.0, 2.0], [0.0, 0.0, 0.0, 0.0])
    folders.predictions(first / "seed-2", [0.0, 1.0, -1.0, 2.0], [0.0, 0.5, -1.0, 1.0])
    folders.add("two", dataset="mosei", metrics="mosei", model="linear", backbone="none", seeds=[mosei(0.7)])
    folders.add("odd", dataset=EVIL, metrics="classification", variant=EVIL, seeds=[{"acc": 0.5, "weight_F1": 0.4}])
    return build([folders.root])


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a_b & 50 %", r"a\_b \& 50 \%"),
        ("{x}#$", r"\{x\}\#\$"),
        ("~^\\", r"\textasciitilde{}\textasciicircum{}\textbackslash{}"),
        ("<i>|", r"\textless{}i\textgreater{}\textbar{}"),
        ('say "so"', r"say {\char34}so{\char34}"),
        ("a--b ,, ''", r"a-{}-b ,{}, '{}'"),
        ("?`", "?{}`"),
        ("é ï Ł ß ñ", r"\'{e} \"{\i} \L{} \ss{} \~{n}"),
        ("e\u0301", r"\'{e}"),
        ("R² 1 ± 2 ↑", r"R$^2$ 1 $\pm$ 2 $\uparrow$"),
        ("情感 ok", r"\msechars{情感}{U+60C5 U+611F} ok"),
        ("😀", r"\msechars{😀}{U+1F600}"),
        ("a\nb\tc", "a b c"),
        ("%\n\\end{table}", r"\% \textbackslash{}end\{table\}"),
    ],
)
def test_texts_are_escaped_for_latex(text, written):
    assert escape(text) == written


def test_latex_is_a_complete_table_a_dataset_with_the_best_bold_and_published_rows_apart(report):
    latex = to_latex(report)
    assert latex.startswith("% Needs \\usepackage{booktabs}.\n")
    assert set(re.findall(r"\\usepackage\{(\w+)\}", latex)) == {"booktabs"}
    (numbers,) = re.findall(r"\\begin\{table\*\}.*?\\end\{table\*\}", latex, re.DOTALL)
    rows = numbers.partition(r"\midrule")[2].partition(r"\bottomrule")[0]
    ours, _, theirs = rows.partition(r"\emph{Published}")
    assert r"\textbf{0.5500}$_{\pm 0.0707}$" in ours
    assert "0.7000" in ours
    assert r"\cite{mse-authors} & 5 & 86.74$_{\pm 0.29}$" in theirs
    assert "% @misc{mse-authors, title = {Yang et al., MSE-Adapter" in latex
    assert r"\label{tab:mse-mosei}" in numbers


def test_each_row_of_latex_has_as_many_cells_as_its_heading_and_braces_match(report):
    for table in re.findall(r"\\begin\{tabular\}.*?\\end\{tabular\}", to_latex(report), re.DOTALL):
        lines = [
            line.partition(r" \\")[0] for line in table.splitlines() if line.endswith((r"\\",)) or r" \\ % " in line
        ]
        counts = {len(re.findall(r"(?<!\\)&", line)) for line in lines if "multicolumn" not in line}
        assert len(counts) == 1
        bare = re.sub(r"\\[{}]", "", table)
        assert bare.count("{") == bare.count("}")


def test_letters_that_pdflatex_lacks_are_declared_once(report, folders):
    assert to_latex(report).count(r"\providecommand{\msechars}") == 1
    only = build([folders.root / "two"])
    assert "msechars" not in to_latex(only)


def test_csv_has_a_row_a_run_and_published_row_with_the_values_of_json(report):
    rows = list(csv.DictReader(io.StringIO(to_csv(report))))
    found = {row["run"]: row for row in rows}
    stored = {run["name"]: run for table in to_json(report)["tables"] for run in table["runs"]}
    assert float(found["one"]["MAE"]) == stored["one"]["test"]["MAE"]["mean"] == 0.55
    assert float(found["one"]["MAE_sd"]) == pytest.approx(0.0707, abs=1e-4)
    assert found["two"]["MAE_sd"] == ""
    assert (found["one"]["seeds"], found["one"]["origin"]) == ("2", "ours")
    assert found["odd"]["variant"] == EVIL
    theirs = found["MSE-Adapter, LLaMA2-7B"]
    assert (theirs["origin"], theirs["MAE"], theirs["MAE_sd"]) == ("published (authors)", "0.507", "0.0054")
    assert "arXiv 2502.12478" in theirs["source"]


def called(report, folder):
    """What LaTeX calls the row of a folder."""
    for table in report.tables:
        for name, row in zip(labels(table.rows), table.rows, strict=True):
            if row.run.name == folder:
                return escape(name)
    raise KeyError(folder)


def test_a_collapsed_seed_is_told_in_every_format(report, folders):
    sentence = "one: all predictions of seed 1 are the same: it has collapsed."
    assert f"‡ {sentence}" in " ".join(terminal(report, 300).split())
    assert re.search(r"^‡ one", terminal(report, 300), re.MULTILINE)
    assert f"‡ {sentence}" in to_markdown(report)
    assert "| ‡ one |" in to_markdown(report)
    assert rf"\ddag{{}} {called(report, 'one')}{sentence.removeprefix('one')}" in to_latex(report)
    assert r"\raggedright \ddag{} adapter" in to_latex(report)
    stored = {run["name"]: run["collapsed"] for table in to_json(report)["tables"] for run in table["runs"]}
    assert stored == {"one": [1], "two": [], "odd": []}
    assert {row["run"]: row["collapsed"] for row in csv.DictReader(io.StringIO(to_csv(report)))}["one"] == "1"


def test_a_run_of_classes_that_answers_one_class_has_collapsed_unless_there_is_but_one(folders):
    for name, targets in (("many", ["joy", "anger"]), ("single", ["joy", "joy"])):
        folder = folders.add(name, seeds=[{"acc": 0.5, "weight_F1": 0.5}])
        folders.predictions(folder / "seed-1", targets, ["joy", "joy"])
    told = folders.add("told")
    folders.seed(told, 3, {"acc": 0.5, "weight_F1": 0.5}, alarms=["All 4 predictions are 0: the model has collapsed."])
    rows = build([folders.root]).tables[0].rows
    assert {row.run.name: row.collapsed for row in rows} == {"many": (1,), "single": (), "told": (3,)}


def test_exact_zeros_stand_beside_has0_and_non0(report):
    stored = {run["name"]: run["zeros"] for table in to_json(report)["tables"] for run in table["runs"]}
    assert stored["one"]["mean"] == pytest.approx((1 + 0.25) / 2)
    assert stored["one"]["targets"] == 0.25
    assert stored["two"] is None  # it has no predictions
    assert stored["odd"] is None  # of classes
    sentence = "exact 0: percent of the predictions that are exactly 0 (of the targets 25.00)"
    for text, name in (
        (terminal(report, 300), "one"),
        (to_markdown(report), "one"),
        (to_latex(report), called(report, "one")),
    ):
        assert sentence in " ".join(text.split())
        assert f"More than the targets: {name} 62.50." in " ".join(text.split())
    assert {row["run"]: row["zeros"] for row in csv.DictReader(io.StringIO(to_csv(report)))}["one"] == "0.625"


def test_predictions_of_numbers_that_are_none_are_left_out_and_told(folders):
    folder = folders.add(dataset="mosei", metrics="mosei", seeds=[mosei(0.5)])
    folders.predictions(folder / "seed-1", ["x", "y"], ["x", "x"])
    report = build([folders.root])
    assert report.tables[0].rows[0].zeros is None
    assert report.warnings == ("a: predictions cannot be read; 'x' is no number.",)


@pytest.mark.parametrize("ending", [".md", ".markdown", ".json", ".csv", ".tex", ".TEX"])
def test_the_ending_of_a_file_chooses_its_format(report, tmp_path, ending):
    path = tmp_path / f"results{ending}"
    formats.write(report, path)
    expected = {".json": '{\n  "format"', ".csv": "dataset,", ".tex": "% Needs"}.get(ending.lower(), "## ")
    assert path.read_text("utf-8").startswith(expected)
    if ending == ".json":
        assert json.loads(path.read_text("utf-8")) == to_json(report)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("results.pdf", "take one of .md, .markdown, .json, .csv, .tex, .htm, .html"),
        ("results", "no ending is none"),
        ("nowhere/results.tex", r"there is no folder .*nowhere; make it first \(mkdir -p .*nowhere\)"),
        ("folder.csv", "is a folder; give the path of a file in it"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_and_no_folder_is_made(report, tmp_path, name, told):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UsageError, match=told):
        formats.write(report, tmp_path / name)
    assert not (tmp_path / "nowhere").exists()


def test_json_of_a_run_with_numbers_that_are_none_is_strict(folders):
    for name, rate in (("a", float("nan")), ("b", 0.1)):
        folders.add(name, config={"training": {"dropout": rate}}, seeds=[{"acc": 0.5, "weight_F1": 0.5}])
    (first, second) = to_json(build([folders.root]))["tables"][0]["runs"]
    assert json.dumps([first, second], allow_nan=False)
    assert {first["settings"]["dropout"], second["settings"]["dropout"]} == {None, 0.1}


# Order


@pytest.fixture
def three(folders):
    for name, acc, f1, size in (("b", 0.5, 0.9, 30), ("a", 0.7, 0.1, None), ("c", 0.6, None, 10)):
        folders.add(
            name, seeds=[{"acc": acc, "weight_F1": f1}], trainable_parameters=size, created=f"2025-0{len(name)}"
        )
    return folders.root


@pytest.mark.parametrize(
    ("key", "order"),
    [
        ("acc", "acb"),
        ("ACC", "acb"),
        ("weight_F1", "bac"),
        ("weighted F1", "bac"),
        ("name", "abc"),
        ("parameters", "cba"),
        ("ECE", "bac"),
        (None, "bac"),
    ],
)
def test_rows_are_sorted_best_first_and_those_that_do_not_tell_come_last(three, key, order):
    assert "".join(row.run.name for row in build([three], sort=key).tables[0].rows) == order


def test_errors_are_sorted_ascending(folders):
    for name, mae in (("far", 0.9), ("near", 0.4)):
        folders.add(name, dataset="mosei", metrics="mosei", seeds=[mosei(mae)])
    assert [row.run.name for row in build([folders.root], sort="MAE").tables[0].rows] == ["near", "far"]


def test_an_unknown_key_is_refused_with_the_near_one(three):
    with pytest.raises(UsageError, match=r"--sort weight_F: no run has such a metric; did you mean weight_F1\?"):
        build([three], sort="weight_F")


# The terminal at 80 columns


def test_settings_that_differ_stand_below_a_narrow_table(folders):
    question = "Please recognize the emotion of the above multimodal content from the target set"
    for name, task in (("a", question), ("b", "The emotion is")):
        folders.add(name, config={"prompt": {"task": task}}, seeds=[{"acc": 0.5, "weight_F1": 0.5}])
    text = terminal(build([folders.root]), 80)
    assert max(map(len, text.splitlines())) <= 80
    rows = [line for line in text.splitlines() if line.startswith("a ")]
    assert len(rows) == 2  # one in the table, one below it
    assert rows[1].split("prompt.task ")[1].startswith("Please recognize the emotion")
    wide = terminal(build([folders.root]), 160)
    assert len([line for line in wide.splitlines() if line.startswith("a ")]) == 1
