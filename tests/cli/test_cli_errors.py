"""One clear sentence and the right exit code for what goes wrong."""

import signal
import subprocess
import sys
import wave

import pytest

from mse_pipeline import store
from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import UsageError
from mse_pipeline.task import Classification

RECIPE = """version: 1
name: mine
corpus: {name: table}
streams:
  acoustic.egemaps: {}
"""


def table(root, *rows):
    root.mkdir(parents=True, exist_ok=True)
    (root / "clips.csv").write_text("\n".join(["id,media,split,text,label", *rows]) + "\n")
    return root


def sound(path):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(b"\0\0" * 8_000)


def one_sentence(result, *words):
    assert result.out == ""
    assert "Traceback" not in result.err
    told = [line for line in result.err.splitlines() if line.startswith("mse: ")]
    assert len(told) == 1
    for word in words:
        assert word in result.err
    return True


def test_help_names_the_commands(mse):
    result = mse("--help")
    assert result.code == 0
    assert all(command in result.out for command in ("extract", "train", "report", "demo", "cache"))


@pytest.mark.parametrize("wrapped", [None, "named", "of our own"])
@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("raise RuntimeError('operator torchvision::nms does not exist')", "RuntimeError: operator torchvision::nms"),
        ("raise OSError('libtorch.so: undefined symbol: x')", "OSError: libtorch.so: undefined symbol"),
        ("import not_there_at_all", "ModuleNotFoundError: No module named 'not_there_at_all'"),
    ],
)
def test_a_library_that_cannot_be_imported_is_named_and_leads_to_the_doctor(
    mse, monkeypatch, tmp_path, code, why, wrapped
):
    (tmp_path / "a_library.py").write_text(code + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("mse_pipeline.doctor.LIBRARIES", ("a_library",) if wrapped == "named" else ())

    def fails():
        try:
            import a_library  # noqa: F401
        except Exception as error:
            if wrapped is None:
                raise
            raise UsageError("The tokenizer in x cannot be read.") from error

    monkeypatch.setattr("mse_pipeline.recipe.names", fails)
    result = mse("recipes", "list")
    if wrapped == "of our own":  # as of an extra, which says what to install
        assert (result.code, result.err) == (2, "mse: The tokenizer in x cannot be read.\n")
    else:
        assert result.code == 1
        assert one_sentence(result, "a_library, a library that mse stands on, cannot be imported", why, "mse doctor")


def test_a_fault_of_this_package_shows_its_traceback(mse, monkeypatch):
    def fails():
        raise RuntimeError("a fault")

    monkeypatch.setattr("mse_pipeline.recipe.names", fails)
    with pytest.raises(RuntimeError, match="a fault"):
        mse("recipes", "list")


def test_cli_py_and_the_module_are_the_command():
    from pathlib import Path

    root = Path(__file__).resolve().parents[2]
    printed = subprocess.run(
        [sys.executable, "cli.py", "--version"], cwd=root, capture_output=True, text=True, check=True
    ).stdout
    assert printed.startswith("mse ")


def test_a_wrong_recipe_key_is_told_with_the_nearest_and_all_at_once(mse, tmp_path):
    (tmp_path / "mine.yaml").write_text(
        RECIPE.replace("egemaps: {}", "egemaps: {version_: v02}") + "training: {learning_rat: 0.1, epochs: none}\n"
    )
    result = mse("extract", tmp_path / "mine.yaml", "--root", tmp_path)
    assert result.code == 2
    assert one_sentence(result, "learning_rat", "did you mean learning_rate?", "training.epochs", "version_")


def test_a_missing_root_is_told(mse, tmp_path):
    result = mse("extract", "meld", "--root", tmp_path / "absent", "--cache", tmp_path / "cache")
    assert result.code == 2
    assert one_sentence(result, "absent does not exist", "--root")


def test_a_root_without_clips_is_told(mse, tmp_path):
    result = mse("extract", "meld", "--root", tmp_path, "--cache", tmp_path / "cache")
    assert result.code == 2
    assert one_sentence(result, "train_sent_emo.csv")
    (tmp_path / "mine.yaml").write_text(RECIPE)
    result = mse(
        "extract",
        tmp_path / "mine.yaml",
        "--root",
        table(tmp_path / "data", "a,a.wav,train,hi,joy", "b,b.wav,train,hi,fear"),
    )
    assert result.code == 2
    assert one_sentence(result, "no media file")


@pytest.mark.parametrize("content", [b"this is a text, not a video\n", b""], ids=["text", "empty"])
def test_a_file_that_is_no_video_is_a_failure_with_its_reason(mse, tmp_path, content):
    root = table(tmp_path / "data", "good,good.wav,train,hi,joy", "bad,bad.mp4,test,hi,fear")
    sound(root / "good.wav")
    (root / "bad.mp4").write_bytes(content)
    (tmp_path / "mine.yaml").write_text(RECIPE)
    arguments = ("extract", tmp_path / "mine.yaml", "--root", root, "--cache", tmp_path / "cache", "--workers", 1)
    result = mse(*arguments, "--json")
    assert result.code == 3
    (failure,) = result.json["failures"]
    assert (failure["clip"], failure["code"], failure["stage"]) == ("bad", "undecodable", "decode")
    assert "bad.mp4" in failure["message"]
    assert ("empty" in failure["message"]) == (content == b"")
    assert mse(*arguments, "--max-failures", "50%").code == 0
    assert mse(*arguments, "--max-failures", "1").code == 0
    assert mse(*arguments, "--max-failures", "0").code == 3
    shown = mse("cache", "show", "mine", "--failures", "--cache", tmp_path / "cache")
    assert "undecodable" in shown.out


@pytest.mark.parametrize("bound", ["many", "-1", "%"])
def test_an_impossible_bound_is_told(mse, tmp_path, bound):
    assert one_sentence(mse("extract", "meld", f"--max-failures={bound}"), "--max-failures")


@pytest.mark.parametrize(
    ("target", "words"),
    [("mled", ("did you mean meld?",)), ("absent.yaml", ("does not exist",)), ("absent.csv", ("absent.csv",))],
)
def test_unknown_targets_are_told(mse, target, words):
    result = mse("extract", target)
    assert result.code == 2
    assert one_sentence(result, *words)


def made(path, *names):
    for name in names:
        clips = [Clip(id=f"{split}/1", split=split, label="joy") for split in Split]
        dataset = store.open(path).create(name, clips, task=Classification(("joy", "fear")))
        one = store.Features([[1.0]], [[0, 1]], [True], ["x"])
        dataset.put("acoustic.x", {clip.id: one for clip in clips})


def test_an_unknown_backbone_is_told(mse, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    made(tmp_path / "cache", "mine")
    result = mse("train", "--cache", tmp_path / "cache", "--backbone", "tinny", "--quiet")
    assert result.code == 2
    assert one_sentence(result, "tinny", "tiny")


def test_train_names_the_datasets_to_choose_from(mse, tmp_path):
    assert one_sentence(mse("train", "--cache", tmp_path / "cache"), "mse extract meld")
    made(tmp_path / "cache", "mine", "yours")
    result = mse("train", "--cache", tmp_path / "cache")
    assert result.code == 2
    assert one_sentence(result, "mine | yours")
    assert one_sentence(mse("train", "mime", "--cache", tmp_path / "cache"), "Did you mean mine?")


def test_impossible_settings_are_told(mse, tmp_path):
    made(tmp_path / "cache", "mine")
    result = mse("train", "--cache", tmp_path / "cache", "--learning-rate", "-1")
    assert result.code == 2
    assert one_sentence(result, "--learning-rate")


def test_report_without_runs_is_told(mse, tmp_path):
    result = mse("report", tmp_path)
    assert result.code == 2
    assert one_sentence(result, "mse train")


def test_wrong_usage_exits_with_two(mse):
    assert mse("extract", "meld", "--no-such-option").code == 2


def test_an_interrupt_says_how_to_go_on(mse, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("mse_pipeline.extraction.run.extract", interrupted)
    result = mse("extract", "meld", "--root", tmp_path, "--quiet")
    assert result.code == 130
    assert "continues from there" in result.err


def test_debug_shows_the_traceback(mse, tmp_path):
    from mse_pipeline.errors import UsageError

    with pytest.raises(UsageError):
        mse("extract", "mled", "--debug")
