"""Where a model is found, what its digest depends on, and what is refused in which words."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.extractors import pretrained
from mse_pipeline.extractors.encoder import batches, windows
from mse_pipeline.extractors.pretrained import file_digest
from mse_pipeline.extractors.registry import check, create
from tests.extractors.small_encoders import save_speech, save_text, save_vision, save_whisper
from tests.extractors.small_hub import Hub


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_speech(tmp_path_factory.mktemp("models") / "wavlm", "wavlm")


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The models' folder, an empty hub cache, and no connection wanted."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("MSE_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def put_into_hub_cache(cache: Path, name: str, files: Path, commit: str = "a" * 40) -> Path:
    folder = cache / f"models--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    return Path(shutil.copytree(files, folder / "snapshots" / commit))


# --- where it is found --------------------------------------------------------------------------------------------


def test_a_folder_is_taken_as_it_is(speech: Path) -> None:
    assert pretrained.find(str(speech)) == speech


def test_a_hub_name_is_looked_for_in_the_models_folder_first(models: Path, tmp_path: Path, speech: Path) -> None:
    cached = put_into_hub_cache(tmp_path / "hub", "some/wavlm", speech)
    assert pretrained.find("some/wavlm") == cached
    kept = Path(shutil.copytree(speech, models / "some" / "wavlm"))
    assert pretrained.find("some/wavlm") == kept
    assert pretrained.find("some/wavlm", "a" * 40) == cached  # a kept folder does not know its revision


def test_offline_the_error_says_what_to_download_where(models: Path) -> None:
    with pytest.raises(MseError) as caught:
        pretrained.find("microsoft/wavlm-large")
    told = str(caught.value)
    assert "HF_HUB_OFFLINE is set" in told
    assert "`hf download microsoft/wavlm-large --local-dir DIR`" in told
    assert str(models / "microsoft" / "wavlm-large") in told


def test_offline_a_revision_is_part_of_the_command(models: Path) -> None:
    with pytest.raises(MseError, match=r"--revision v2 --local-dir DIR`, bring DIR here, and give it"):
        pretrained.find("some/model", "v2")


def test_half_a_download_is_not_taken_for_a_model(models: Path, tmp_path: Path, speech: Path) -> None:
    cached = put_into_hub_cache(tmp_path / "hub", "some/wavlm", speech)
    (cached / "model.safetensors").unlink()
    with pytest.raises(UsageError, match="no weights"):
        pretrained.find("some/wavlm")


@pytest.mark.parametrize(
    ("model", "revision", "words"),
    [
        ("", None, "The name of the model is empty"),
        ("./nowhere", None, r"model folder './nowhere' does not exist"),
        ("/no/where", None, "does not exist"),
        ("some/../../etc", None, "does not exist"),
        ("some/..", None, "does not exist"),
        ("what is this?", None, "does not exist"),
        (__file__, None, "is a file: give the folder"),
        (str(Path(__file__).parent), "main", "is a folder and has no revision 'main'"),
        (str(Path(__file__).parent), None, "has no config.json: a model is a folder with"),
    ],
)
def test_names_that_lead_nowhere_are_told_in_words(models: Path, model: str, revision: str | None, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        pretrained.find(model, revision)


@pytest.fixture
def hub(models: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub at localhost that has one repository, or refuses what the test says."""
    from huggingface_hub import constants

    with Hub.running() as one:
        monkeypatch.setattr(constants, "ENDPOINT", one.address)
        template = one.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield one


def test_what_is_nowhere_is_downloaded_once_and_only_what_is_needed(hub: Hub, speech: Path, tmp_path: Path) -> None:
    hub.files = {path.name: path.read_bytes() for path in speech.iterdir()}
    wanted = set(hub.files)
    hub.files |= {"pytorch_model.bin": b"the same once more", "modeling.py": b"code", "README.md": b"words"}
    folder = pretrained.find("some/wavlm")
    assert {path.name for path in folder.iterdir()} == wanted
    assert pretrained.digest(folder) == pretrained.digest(speech)
    asked = len(hub.asked)
    assert pretrained.find("some/wavlm") == folder
    assert len(hub.asked) == asked


@pytest.mark.parametrize(
    ("refusal", "kind", "words"),
    [
        ((403, "GatedRepo"), MseError, "gated on the hub: accept its licence.*hf auth login"),
        ((404, "RepoNotFound"), UsageError, "neither a folder nor a repository that the hub shows you"),
        ((404, "RevisionNotFound"), UsageError, "has no revision 'v9'"),
        ((500, "Broken"), MseError, "the hub cannot be reached.*hf download some/model"),
    ],
)
def test_refusals_of_the_hub_become_sentences(hub: Hub, refusal: tuple[int, str], kind: type, words: str) -> None:
    hub.refusal = refusal
    with pytest.raises(kind, match=words):
        pretrained.find("some/model", "v9")


# --- weights ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/passwd", "weights.pkl", 7])
def test_an_index_of_weights_does_not_lead_out_of_its_folder(tmp_path: Path, name: object) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(UsageError, match=r"which is not a \.safetensors file of its own folder|no weight_map"):
        pretrained.find(str(tmp_path))


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "one.safetensors"}}))
    with pytest.raises(UsageError, match=r"one\.safetensors, a part of the weights, is missing"):
        pretrained.find(str(tmp_path))


def test_a_git_lfs_pointer_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(UsageError, match="git lfs pull"):
        pretrained.find(str(tmp_path))


def test_pickled_weights_that_hold_code_are_not_loaded(speech: Path, tmp_path: Path) -> None:
    import torch

    folder = Path(shutil.copytree(speech, tmp_path / "pickled"))
    (folder / "model.safetensors").unlink()
    trace = tmp_path / "trace"

    class Hostile:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(trace),)

    torch.save({"a": Hostile()}, folder / "pytorch_model.bin")
    with pytest.raises(MseError):
        create("acoustic.transformers", {"model": str(folder)}).load()
    assert not trace.exists()


def test_weights_of_another_model_are_refused(speech: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(speech, tmp_path / "deeper"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 4}))
    with pytest.raises(MseError, match=r"lack \d+ parameters of its configuration; the first is encoder\.layers\.3"):
        create("acoustic.transformers", {"model": str(folder)}).load()


def test_a_model_with_its_own_code_is_refused_and_its_code_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    (tmp_path / "own.py").write_text(f"import os; os.mkdir({str(trace)!r})")
    config = {"model_type": "of_its_own", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match="mse runs no code that comes with a model"):
        pretrained.config(tmp_path)
    assert not trace.exists()


# --- digests and identities ---------------------------------------------------------------------------------------


def test_the_digest_is_that_of_the_content_wherever_it_lies(speech: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(speech, tmp_path / "elsewhere"))
    (moved / "README.md").write_text("What values do not depend on.")
    assert pretrained.digest(moved) == pretrained.digest(speech)


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_every_file_that_changes_values_changes_the_digest(speech: Path, tmp_path: Path, name: str) -> None:
    changed = Path(shutil.copytree(speech, tmp_path / "changed"))
    with (changed / name).open("ab") as stream:
        stream.write(b"\n")
    assert pretrained.digest(changed) != pretrained.digest(speech)


def test_the_digest_of_a_large_file_is_remembered_by_path_size_and_time(tmp_path: Path) -> None:
    large, memory = tmp_path / "large", tmp_path / "memory"
    large.write_bytes(bytes(9 << 20))
    first = file_digest(large, memory)
    (note,) = memory.iterdir()
    assert note.read_text() == first
    code = "import sys; from pathlib import Path; from mse_pipeline.extractors.pretrained import file_digest as d; "
    code += "print(d(Path(sys.argv[1]), Path(sys.argv[2])))"

    def in_another_process() -> str:
        command = [sys.executable, "-c", code, str(large), str(memory)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    note.write_text("f" * 32)
    assert in_another_process() == "f" * 32  # looked up
    note.write_text("what is this?")
    assert in_another_process() == first  # a damaged note is no digest
    large.write_bytes(bytes((9 << 20) + 1))
    assert file_digest(large, memory) != first


def test_a_key_depends_on_the_model_and_not_on_where_it_lies_or_how_it_is_batched(speech: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(speech, tmp_path / "another name"))
    one = create("acoustic.transformers", {"model": str(speech)}).identity()
    assert create("acoustic.transformers", {"model": str(moved), "batch": 7}).identity() == one
    assert create("acoustic.transformers", {"model": str(speech), "last": 2}).identity() != one
    assert create("acoustic.transformers", {"model": str(speech), "precision": "bfloat16"}).identity() != one
    assert str(speech) not in json.dumps(one)
    assert json.loads(json.dumps(one)) == one


@pytest.mark.slow
def test_planning_loads_no_weights(speech: Path) -> None:
    code = (
        "import sys; from mse_pipeline.extractors.registry import create\n"
        "create('acoustic.transformers', {'model': sys.argv[1]}).identity()\n"
        "print(sorted({'torch', 'transformers', 'librosa'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(speech)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- options ------------------------------------------------------------------------------------------------------


def test_wrong_options_are_told_by_name() -> None:
    problems = dict(
        check(
            {
                "acoustic.a": {"extractor": "acoustic.transformers"},
                "acoustic.b": {"extractor": "acoustic.transformers", "model": "m", "layer": 1, "last": 2},
                "acoustic.c": {"extractor": "acoustic.transformers", "model": "m", "window": 4, "overlap": 3},
                "visual.d": {"extractor": "visual.transformers", "model": "m", "layer": 1, "pooling": "pooler"},
                "text.e": {"extractor": "text.transformers", "model": "m", "precision": "float16"},
            }
        )
    )
    assert "has no default; give it a value" in problems["acoustic.a.model"]
    assert "give either `layer` or `last`" in problems["acoustic.b.last"]
    assert "can overlap by half of that at most" in problems["acoustic.c.overlap"]
    assert "pools its output alone" in problems["visual.d.pooling"]
    assert "text.e.precision" in problems
    assert len(problems) == 5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layer": 4}, "has 4 hidden states, 0 to 3 or -4 to -1: there is no layer 4"),
        ({"layer": -5}, "there is no layer -5"),
        ({"last": 5}, "has 4 hidden states, but `last` is 5"),
    ],
)
def test_layers_that_the_model_has_not_are_refused_before_it_is_loaded(speech: Path, options: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        create("acoustic.transformers", {"model": str(speech), **options}).load()


@pytest.mark.parametrize("stream", ["acoustic.transformers", "visual.transformers", "text.transformers"])
def test_a_model_of_another_modality_is_refused(stream: str, tmp_path: Path) -> None:
    for save, kind in ((save_speech, "hubert"), (save_vision, "vit"), (save_text, "bert")):
        fits = {"acoustic": "hubert", "visual": "vit", "text": "bert"}[stream.partition(".")[0]] == kind
        extractor = create(stream, {"model": str(save(tmp_path / kind, kind))})
        if fits:
            assert len(extractor.names) == 24
        else:
            with pytest.raises(UsageError, match=rf"is a '{kind}' model: {stream} takes"):
                extractor.names  # noqa: B018


def test_a_folder_without_its_preprocessor_is_told(tmp_path: Path) -> None:
    folder = save_whisper(tmp_path / "whisper", seconds=2)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(UsageError, match=r"no usable preprocessor_config\.json.*Copy it from the model"):
        create("acoustic.transformers", {"model": str(folder), "window": 2, "overlap": 0}).load()


# --- windows ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 5, 6, 7, 9, 10, 11, 50, 101])
@pytest.mark.parametrize(("length", "overlap"), [(6, 0), (6, 1), (6, 2), (6, 3), (6, 5), (1, 0)])
def test_windows_share_out_rows_where_they_are_farthest_from_a_border(rows: int, length: int, overlap: int) -> None:
    made = windows(rows, length, overlap)
    assert [row for window in made for row in range(rows)[window.kept]] == list(range(rows))
    assert {window.stop - window.start for window in made} == {min(rows, length)}
    assert made[0].start == 0
    assert made[-1].stop == rows

    def depth(window, row: int) -> float:
        left = row - window.start if window.start else float("inf")
        right = window.stop - 1 - row if window.stop < rows else float("inf")
        return min(left, right)

    for window in made:
        for row in range(rows)[window.kept]:
            others = [depth(one, row) for one in made if one.start <= row < one.stop]
            assert depth(window, row) == max(others)


def test_batches_hold_windows_of_one_length() -> None:
    made = windows(20, 6, 2)
    assert [len(some) for some in batches(made, 2)] == [2, 2, 1][: len(list(batches(made, 2)))]
    assert [window for some in batches(made, 3) for window in some] == made
    shorter = windows(4, 6, 2)
    assert [len(some) for some in batches([*made[:2], *shorter, *made[2:3]], 8)] == [2, 1, 1]
