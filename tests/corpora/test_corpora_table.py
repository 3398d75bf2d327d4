"""Anyone's table of clips: columns, encodings, labels, paths, and what is refused."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from mse_pipeline import corpora
from mse_pipeline.clip import Split
from mse_pipeline.corpora import table_file
from mse_pipeline.errors import UsageError
from mse_pipeline.task import Classification, Regression

HEADER = "id,media,split,text,label"


def write(
    root: Path, content: str | bytes, name: str = "clips.csv", media: tuple[str, ...] = ("a.mp4", "b.mp4")
) -> Path:
    for file in (*media, name):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
    for file in media:
        (root / file).touch()
    (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def table(root: Path, *lines: str, header: str = HEADER, task=None, name: str = "clips.csv", **options):
    return corpora.read("table", write(root, "\n".join([header, *lines]) + "\n", name), options, task=task)


def codes(corpus, code):
    return [defect.clip for defect in corpus.defects if defect.code == code]


TWO = ("a,a.mp4,train,Hello,joy", "b,b.mp4,test,Bye,anger")


def test_the_five_columns_make_clips(tmp_path):
    corpus = table(tmp_path, *TWO)
    assert [(clip.id, clip.media, clip.split, clip.text, clip.label) for clip in corpus.clips] == [
        ("a", "a.mp4", Split.TRAIN, "Hello", "joy"),
        ("b", "b.mp4", Split.TEST, "Bye", "anger"),
    ]
    assert corpus.task == Classification(("anger", "joy"))
    assert "write task into the recipe" in corpus.notes[0]
    assert (corpus.defects, dict(corpus.expected), corpus.sources) == ((), {}, ("clips.csv",))


def test_optional_columns_are_read(tmp_path):
    corpus = table(
        tmp_path,
        "7,a.mp4,dev,你好,joy,0.5,2,Ann,d1,3,zh,0.5,sad",
        "8,a.mp4,dev,,anger,,,,,,,,",
        header=HEADER + ",start,end,speaker,dialogue,turn,language,label_text,label_visual",
    )
    first, second = corpus.clips
    assert (first.start, first.end, first.speaker, first.dialogue, first.turn, first.language) == (
        0.5,
        2.0,
        "Ann",
        "d1",
        3,
        "zh",
    )
    assert dict(first.labels) == {"text": 0.5, "visual": "sad"}
    assert (second.start, second.end, second.speaker, second.dialogue, second.turn) == (None, None, None, None, None)
    assert (second.language, second.text, dict(second.labels)) == ("en", "", {})


def test_columns_splits_and_language_can_be_mapped(tmp_path):
    corpus = table(
        tmp_path,
        "0001,a.mp4,fold1,Hi,0.5",
        "0002,b.mp4,Validation,Hi,-1",
        header="clip,media,part,text,score",
        columns={"id": "clip", "split": "part", "label": "score"},
        splits={"fold1": "test"},
        language="zh",
    )
    assert [(clip.id, clip.split, clip.label, clip.language) for clip in corpus.clips] == [
        ("0001", Split.TEST, 0.5, "zh"),
        ("0002", Split.VALID, -1.0, "zh"),
    ]
    assert corpus.task == Regression(-1.0, 1.0)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("TRAIN", "train"),
        ("dev", "valid"),
        ("val", "valid"),
        ("valid", "valid"),
        (" test ", "test"),
    ],
)
def test_usual_split_names_are_known(tmp_path, name, split):
    corpus = table(tmp_path, f"a,a.mp4,{name},x,joy", "b,b.mp4,train,x,fear")
    assert corpus.clips[0].split == split


@pytest.mark.parametrize(
    ("name", "delimiter", "encoding"),
    [
        ("clips.csv", ",", "utf-8"),
        ("clips.csv", ",", "utf-8-sig"),
        ("clips.csv", ";", "utf-8"),
        ("clips.csv", "\t", "utf-16"),
        ("clips.tsv", "\t", "gb18030"),
        ("deep/er/CLIPS.CSV", ",", "utf-8"),
    ],
)
def test_delimiters_and_encodings_of_spreadsheets(tmp_path, name, delimiter, encoding):
    lines = [HEADER, "a,a.mp4,train,我不想嫁给李茶,开心", "b,b.mp4,test,你这是嫁入豪门啊,愤怒"]
    content = "\r\n".join(lines).replace(",", delimiter)
    corpus = corpora.read("table", write(tmp_path, content.encode(encoding), name))
    assert [(clip.text, clip.label) for clip in corpus.clips] == [
        ("我不想嫁给李茶", "开心"),
        ("你这是嫁入豪门啊", "愤怒"),
    ]
    assert corpus.with_media() == 2


def test_cp1252_and_damaged_text_are_repaired(tmp_path):
    corpus = corpora.read(
        "table", write(tmp_path, b"id,media,split,text,label\na,a.mp4,train,it\x92s,x\nb,b.mp4,test,caf\xe9,y\n")
    )
    assert [clip.text for clip in corpus.clips] == ["it’s", "café"]
    assert "cp1252" in corpus.notes[0]
    corpus = table(tmp_path, "a,a.mp4,train,it\x92s,x,Joe\x85", "b,b.mp4,test,ok,y,", header=HEADER + ",speaker")
    assert (corpus.clips[0].text, corpus.clips[0].speaker) == ("it’s", "Joe…")
    assert codes(corpus, "text_repaired") == ["a"]


def test_parquet_reads_as_the_same_clips(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = pa.table(
        {
            "id": ["001", "002", "003"],
            "media": ["a.mp4", "b.mp4", None],
            "split": pa.array(["train", "dev", "test"]).dictionary_encode(),
            "text": ["Hi", None, "x"],
            "label": pa.array([1.5, -2.0, float("nan")]),
            "turn": pa.array([1, 2, None], pa.int64()),
            "start": [0.0, 1.0, None],
            "embedding": [[1.0], [2.0], [3.0]],
        }
    )
    write(tmp_path, b"")
    (tmp_path / "clips.csv").unlink()
    pq.write_table(content, tmp_path / "clips.parquet")
    corpus = corpora.read("table", tmp_path)
    assert [(clip.id, clip.label, clip.turn, clip.start, clip.text) for clip in corpus.clips] == [
        ("001", 1.5, 1, 0.0, "Hi"),
        ("002", -2.0, 2, 1.0, ""),
        ("003", None, None, None, "x"),
    ]
    assert corpus.task == Regression(-2.0, 2.0)
    assert "1 of 3 rows have no label." in corpus.notes
    assert codes(corpus, "missing_media") == ["003"]


def test_integer_labels_are_classes_where_the_task_says_so(tmp_path):
    task = Classification(("0", "1"))
    corpus = table(tmp_path, "a,a.mp4,train,x,1", "b,b.mp4,train,x,0", task=task)
    assert [clip.label for clip in corpus.clips] == ["1", "0"]
    assert table(tmp_path, "a,a.mp4,train,x,1", "b,b.mp4,train,x,1").task == Regression(1.0, 2.0)


@pytest.mark.parametrize(
    ("task", "label", "says"),
    [
        (Classification(("joy", "anger")), "Joy", "did you mean joy?"),
        (Regression(-3, 3), "3.5", "the range is -3 to 3"),
        (Regression(-3, 3), "many", "the range is -3 to 3"),
        (Regression(-3, 3), "1 000", "write it with a decimal point"),
    ],
)
def test_labels_that_are_none_of_the_tasks_are_told_with_their_row(tmp_path, task, label, says):
    sound = "joy" if isinstance(task, Classification) else "1"
    corpus = table(tmp_path, f"a,a.mp4,train,x,{sound}", f"b,b.mp4,train,x,{label}", task=task)
    assert corpus.clips[1].label is None
    (defect,) = corpus.defects
    assert (defect.code, defect.clip) == ("label_out_of_range", "b")
    assert defect.message.startswith(f"Row 3 has the label {label!r}; ")
    assert says in defect.message


@pytest.mark.parametrize("task", [Classification(("happy", "angry")), Regression(0, 1)])
def test_a_task_that_no_label_fits_is_refused(tmp_path, task):
    with pytest.raises(UsageError, match=r"No label in table clips.csv fits the task .* as in 'joy'"):
        table(tmp_path, *TWO, task=task)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["a,a.mp4,train,x,", "b,b.mp4,train,x,"], "no label at all"),
        (["a,a.mp4,train,x,joy"], "one class only"),
        ([f"c{i},a.mp4,train,x,text {i}" for i in range(201)], "too many for classes"),
    ],
)
def test_labels_that_tell_no_task_are_refused(tmp_path, lines, says):
    with pytest.raises(UsageError, match=says):
        table(tmp_path, *lines)


def test_missing_columns_are_told_at_once_with_the_nearest(tmp_path):
    with pytest.raises(UsageError) as error:
        table(tmp_path, "1,2,3", header="clip,Media,labels", columns={"id": "klip", "txet": "Media"})
    for part in (
        "has no column klip; did you mean clip?",
        "txet is not one of",
        "did you mean text?",
        "no column media; did you mean Media?",
        "no column split",
        "no column label; did you mean labels?",
        "Its columns are clip, Media, labels.",
    ):
        assert part in str(error.value)


def test_wrong_rows_are_told_at_once(tmp_path):
    with pytest.raises(UsageError) as error:
        table(
            tmp_path,
            "a,a.mp4,train,x,joy,0,1,1",
            "a,a.mp4,train,x,joy,0,1,1",
            "c,a.mp4,fold,x,joy,0,1,1",
            "d,a.mp4,train,x,joy,2,2,1",
            "e,a.mp4,train,x,joy,zero,inf,1.5",
            ",a.mp4,train,x,joy,,,one",
            "g,../a.mp4,train,x,anger,,,",
            "h,/etc/passwd,train,x,joy,,,",
            "i,a.mp4,train,x,joy,-3,-1,",
            header=HEADER + ",start,end,turn",
        )
    told = str(error.value)
    for part in (
        "id a is used already in row 2; ids must be unique (row 3)",
        "split 'fold' is not one of train, valid (also dev, val) or test; the option splits maps other names (row 4)",
        "end must be after start and after 0, both in seconds (rows 5, 10)",
        "start 'zero' is not a number of seconds (row 6)",
        "end 'inf' is not a number of seconds (row 6)",
        "turn '1.5' is not a whole number (row 6)",
        "an id must have 1 to 200 characters and no control characters (row 7)",
        "turn 'one' is not a whole number (row 7)",
        "media '../a.mp4' leads out of the root",
        "(row 8)",
        "media '/etc/passwd' is an absolute path outside of the root",
        "(row 9)",
    ):
        assert part in told


def test_very_many_wrong_rows_stay_readable(tmp_path):
    with pytest.raises(UsageError) as error:
        table(tmp_path, *(f"c{i},a.mp4,fold{i},x,{'joy' if i % 2 else 'fear'}" for i in range(60)))
    assert "and 40 more kinds of errors" in str(error.value)
    assert len(str(error.value).splitlines()) == 22


def test_a_negative_start_becomes_the_begin_of_the_file(tmp_path):
    corpus = table(tmp_path, "a,a.mp4,train,x,joy,-0.4,2", "b,b.mp4,train,x,fear,0,2", header=HEADER + ",start,end")
    assert (corpus.clips[0].start, corpus.clips[0].end) == (0.0, 2.0)
    assert codes(corpus, "negative_start") == ["a"]


@pytest.mark.parametrize("media", ["none.mp4", "none/a.mp4", "", "sub", "http://host/a.mp4"])
def test_media_that_are_not_there_are_told(tmp_path, media):
    (tmp_path / "sub").mkdir()
    corpus = table(tmp_path, f"a,{media},train,x,joy", "b,b.mp4,train,x,fear")
    assert corpus.clips[0].media is None
    assert codes(corpus, "missing_media") == ["a"]
    assert corpus.with_media() == 1


def test_media_start_from_the_root_or_from_the_tables_folder(tmp_path):
    content = f"{HEADER}\na,video/a.mkv,train,x,joy\nb,b.wav,train,x,fear\nc,../c.avi,test,x,joy\n"
    write(tmp_path, content, "labels/clips.csv", ("video/a.mkv", "labels/b.wav", "c.avi"))
    assert [clip.media for clip in corpora.read("table", tmp_path).clips] == ["video/a.mkv", "labels/b.wav", "c.avi"]


def test_media_root_is_where_media_start_from(tmp_path):
    write(tmp_path, f"{HEADER}\na,a.mp4,train,x,joy\nb,b.mp4,train,x,fear\n", media=("a.mp4", "deep/video/a.mp4"))
    corpus = corpora.read("table", tmp_path, {"media_root": "deep/video"})
    assert [clip.media for clip in corpus.clips] == ["deep/video/a.mp4", None]


def test_absolute_paths_inside_the_root_are_taken(tmp_path):
    corpus = table(tmp_path, f"a,{tmp_path.resolve()}/a.mp4,train,x,joy", "b,b.mp4,train,x,fear")
    assert corpus.clips[0].media == "a.mp4"


def test_a_link_out_of_the_root_costs_its_clip_alone(tmp_path):
    root = write(tmp_path / "root", f"{HEADER}\na,a.mp4,train,x,joy\nb,link.mp4,train,x,fear\n")
    (tmp_path / "secret.mp4").touch()
    (root / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    corpus = corpora.read("table", root)
    assert [clip.media for clip in corpus.clips] == ["a.mp4", None]
    assert [(defect.code, defect.clip, defect.message) for defect in corpus.defects] == [
        (
            "missing_media",
            "b",
            "Row 3 names link.mp4, which is a symbolic link out of the root, to "
            f"'{tmp_path}/secret.mp4'; --follow-links allows it.",
        )
    ]
    followed = corpora.read("table", root, {"follow_links": True})
    assert [clip.media for clip in followed.clips] == ["a.mp4", "link.mp4"]


def test_the_table_itself_can_be_the_root(tmp_path):
    write(tmp_path, "\n".join([HEADER, *TWO]), "mine.csv")
    corpus = corpora.read("table", tmp_path / "mine.csv")
    assert (corpus.sources, corpus.root) == (("mine.csv",), tmp_path.resolve())


@pytest.mark.parametrize(
    ("names", "options", "says"),
    [
        ([], {}, "no clips.csv, clips.tsv or clips.parquet below .* columns id, media, split, text, label"),
        (["mine.csv"], {}, "These tables are there: mine.csv; name one with the option table"),
        (["clips.csv", "x/clips.tsv"], {}, "several tables below .*: clips.csv, x/clips.tsv"),
        (["clips.csv"], {"table": "none.csv"}, "no file none.csv"),
        (["clips.csv"], {"table": "../clips.csv"}, "leads out of the root"),
        (["clips.txt"], {"table": "clips.txt"}, "must be one of .csv, .tsv, .parquet"),
        (["clips.csv"], {"media_root": "none"}, "no folder none"),
        (["clips.csv"], {"media_root": "/etc"}, "absolute path outside"),
    ],
)
def test_tables_and_folders_that_are_not_there_are_told(tmp_path, names, options, says):
    for name in names:
        write(tmp_path, "\n".join([HEADER, *TWO]), name)
    with pytest.raises(UsageError, match=says):
        corpora.read("table", tmp_path, options)


def test_a_table_that_is_a_link_out_of_the_root_is_refused(tmp_path):
    write(tmp_path, "\n".join([HEADER, *TWO]))
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "clips.csv").symlink_to(tmp_path / "clips.csv")
    with pytest.raises(UsageError, match="symbolic link out of"):
        corpora.read("table", tmp_path / "root", {"table": "clips.csv"})


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("clips.csv", b"", "has no rows"),
        ("clips.csv", HEADER.encode(), "has no rows"),
        ("clips.csv", b"\x00\x00\x01", "zero bytes"),
        ("clips.csv", f"{HEADER}\na,a.mp4,train,x\nb,b.mp4,train,Hi, you,joy\n".encode(), "5 columns.*rows 2, 3"),
        ("clips.csv", f'{HEADER}\na,a.mp4,train,"x,joy\nb,b.mp4,train,x,joy\n'.encode(), "not valid CSV"),
        ("clips.csv", b"id,id,media\n1,2,3\n", "several columns named id"),
        ("clips.csv", HEADER.encode() + b"\na,a.mp4,train," + b"x" * 200_000 + b",joy\n", "not valid CSV"),
        ("clips.parquet", b"PAR1 not really", "not a valid Parquet"),
        ("clips.parquet", b"", "not a valid Parquet"),
    ],
)
def test_broken_tables_are_refused_by_name(tmp_path, name, content, says):
    with pytest.raises(UsageError, match=f"(?s)Table {name}.*{says}"):
        corpora.read("table", write(tmp_path, content, name))


def test_a_table_beyond_all_measure_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(table_file, "_MAX_BYTES", 10)
    with pytest.raises(UsageError, match=r"Table clips\.csv has \d+ bytes; at most 10"):
        table(tmp_path, *TWO)


def test_a_table_that_vanishes_is_told(tmp_path):
    with pytest.raises(UsageError, match=r"Table gone\.csv cannot be read: No such file"):
        table_file.read_table(tmp_path, "gone.csv")


def test_blank_lines_are_passed_over_and_rows_still_count(tmp_path):
    with pytest.raises(UsageError, match=r"split '\?' .*\(row 4\)"):
        table(tmp_path, TWO[0], "", "c,a.mp4,?,x,anger")


@pytest.mark.parametrize("identifier", ["x" * 201, "a\x07b"])
def test_ids_that_no_file_could_carry_are_refused(tmp_path, identifier):
    with pytest.raises(UsageError, match="an id must have"):
        table(tmp_path, f"{identifier},a.mp4,train,x,joy", TWO[1])


@pytest.mark.slow
def test_a_hundred_thousand_rows_are_read(tmp_path):
    lines = (f"v{i}_{i % 7},a.mp4,train,some words that are said,{'joy' if i % 3 else 'rage'}" for i in range(100_000))
    write(tmp_path, "\n".join([HEADER, *lines]))
    corpus = corpora.read("table", tmp_path, task=Classification(("joy", "anger")))
    assert len(codes(corpus, "label_out_of_range")) == 33_334


def test_real_speech_through_a_table(shared, tmp_path):
    data = shared / "data" / "ravdess"
    with (data / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    (tmp_path / "wav").mkdir()
    with (tmp_path / "clips.csv").open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(["clip", "media", "split", "transcript", "emotion", "actor", "label_intensity"])
        for row in rows:
            (name,) = [path.name for path in [*(data / "wav").glob(row["clip"] + ".*")]] or [None]
            (tmp_path / "wav" / name).touch()
            split = "train" if int(row["actor"]) <= 12 else "dev" if int(row["actor"]) <= 14 else "test"
            out.writerow(
                [row["clip"], f"wav/{name}", split, row["transcript"], row["emotion"], row["actor"], row["intensity"]]
            )
    names = {"id": "clip", "text": "transcript", "label": "emotion", "speaker": "actor"}
    corpus = corpora.read("table", tmp_path, {"columns": names})
    assert (len(corpus.clips), corpus.with_media(), corpus.defects) == (960, 960, ())
    assert isinstance(corpus.task, Classification)
    assert len(corpus.task.classes) == 8
    assert corpus.counts() == {Split.TRAIN: 720, Split.VALID: 120, Split.TEST: 120}
    assert corpus.clips[0].id == "03-01-01-01-01-01-01"
    assert dict(corpus.clips[0].labels) == {"intensity": "normal"}


def test_real_transcripts_through_a_table(shared, tmp_path):
    data = shared / "data" / "grid"
    with (data / "transcripts.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [f"{row['clip']},{row['clip']}.mpg,test,{row['transcript']},{row['transcript'].split()[0]}" for row in rows]
    media = tuple(path.name for path in data.glob("*.mpg"))
    corpus = corpora.read("table", write(tmp_path, "\n".join([HEADER, *lines]), media=media))
    assert (len(corpus.clips), corpus.with_media(), corpus.defects) == (11, 11, ())
    assert corpus.task == Classification(("bin", "lay", "place", "set"))
