"""One clip on its way, in this process."""

import pytest

from mse_pipeline.clip import Clip, Split
from mse_pipeline.extraction.clip_run import ClipRun
from mse_pipeline.extraction.plan import Step, Task, Todo
from mse_pipeline.extraction.run import stream_specs
from mse_pipeline.extractors.acoustic.opensmile import Egemaps


@pytest.fixture
def clip_run(corpus, recipe, tmp_path):
    """The run of the corpus's clip 0 with this extractor, and the steps that it tells of."""

    def make(extractor):
        task = Task("run", tmp_path / "cache", corpus(3), stream_specs(recipe()), None, "cpu")
        clip = Clip(id="c0", split=Split.TRAIN, media="media/clip0.wav")
        steps = []
        return ClipRun(Todo(clip, ("acoustic.egemaps",)), task, steps.append).make(
            {"acoustic.egemaps": extractor}
        ), steps

    return make


class Breaking(Egemaps):
    def __call__(self, audio):
        raise ZeroDivisionError("of its own")


def test_an_extractor_that_breaks_costs_its_stream_of_this_clip_alone(clip_run):
    ((row, features),), _ = clip_run(Breaking())
    assert (row.status, row.code, row.stage) == ("failed", "extractor_failed", "extract")
    assert row.message == "ZeroDivisionError: of its own"
    assert features is None


def test_each_step_is_told_before_it_begins_with_what_is_known_of_the_media(clip_run):
    ((row, features),), steps = clip_run(Egemaps())
    assert row.status == "done"
    assert len(features) > 0
    media = {"digest": row.digest, "size": row.size, "mtime_ns": row.mtime_ns}
    assert steps == [Step("find"), Step("decode", None, media), Step("extract", "acoustic.egemaps", media)]
