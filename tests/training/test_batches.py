"""Batches: each clip once, of like length, in a random order that a generator fixes; and made ahead of their turn."""

from __future__ import annotations

import threading
from itertools import pairwise

import pytest
import torch

from mse_pipeline import backbones
from mse_pipeline.clip import Split
from mse_pipeline.training.batches import MEGA, ahead, batches_by_size, epoch_batches
from mse_pipeline.training.examples import Batcher, Example, Texts

DRAWN = torch.randint(1, 70, (1_003,), generator=torch.Generator().manual_seed(2)).tolist()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def padding(lengths, chosen):
    read = sum(max(lengths[place] for place in batch) * len(batch) for batch in chosen)
    return 1 - sum(lengths) / read


@pytest.mark.parametrize("count", [0, 1, 7, 16, 17, 1_003])
def test_an_epoch_has_each_clip_once_in_as_many_batches_as_it_takes(count):
    made = epoch_batches(DRAWN[:count], 16, generator())
    assert sorted(place for batch in made for place in batch) == list(range(count))
    assert len(made) == -(-count // 16)
    assert sum(len(batch) < 16 for batch in made) == (1 if count % 16 else 0)


def test_little_of_a_batch_is_padding():
    many = DRAWN * 10
    alone = [list(range(begin, min(begin + 16, len(many)))) for begin in range(0, len(many), 16)]
    assert padding(many, alone) > 0.4
    assert padding(many, epoch_batches(many, 16, generator())) < 0.05
    assert padding(DRAWN, epoch_batches(DRAWN, 16, generator())) < 0.15


@pytest.mark.parametrize("count", [100, 540, 1_284])
def test_of_few_clips_no_epoch_has_the_batches_of_the_one_before(count):
    # Were all sorted together, clips of neighbouring lengths would meet in each epoch.
    order = generator()
    first, second = (epoch_batches(list(range(count)), 16, order) for _ in range(2))
    met, again = (
        {frozenset((one, other)) for batch in made for one in batch for other in batch if one < other}
        for made in (first, second)
    )
    assert len(met & again) < 0.4 * len(met)


def test_the_generator_alone_decides_and_the_next_epoch_is_another():
    order = generator(5)
    first, second = epoch_batches(DRAWN, 16, order), epoch_batches(DRAWN, 16, order)
    assert first == epoch_batches(DRAWN, 16, generator(5))
    assert first != second
    assert {frozenset(batch) for batch in first}.isdisjoint(frozenset(batch) for batch in second)


def test_batches_do_not_come_sorted():
    longest = [max(DRAWN[place] for place in batch) for batch in epoch_batches(DRAWN, 16, generator())]
    rises = sum(one < other for one, other in pairwise(longest))
    assert 0.3 < rises / len(longest) < 0.7


def test_clips_of_one_length_are_drawn_at_random():
    made = epoch_batches([3] * 64, 16, generator())
    assert all(max(batch) - min(batch) > 16 for batch in made)


def test_the_smaller_batch_is_not_always_that_of_the_longest_clips():
    lengths = list(range(376))  # of the last pool's 40 clips, 8 are left over
    smaller = []
    for seed in range(30):
        (batch,) = (batch for batch in epoch_batches(lengths, 16, generator(seed)) if len(batch) == 8)
        smaller.append(sum(batch) / 8)
    assert min(smaller) < 376 / 4
    assert max(smaller) > 376 * 3 / 4


def test_of_many_clips_only_some_are_sorted_together():
    count = 8 * MEGA * 4
    made = epoch_batches(list(range(count)), 4, generator())
    widest = max(max(batch) - min(batch) for batch in made)
    assert 4 < widest < count / 4


def test_a_batch_of_no_clips_is_refused():
    with pytest.raises(ValueError, match="at least one clip"):
        epoch_batches([1, 2], 0, generator())


def test_evaluation_reads_as_much_at_once_as_fits():
    made = batches_by_size(DRAWN, 512)
    assert sorted(place for batch in made for place in batch) == list(range(len(DRAWN)))
    assert all(max(DRAWN[place] for place in batch) * len(batch) <= 512 for batch in made)
    assert padding(DRAWN, made) < 0.1
    assert max(map(len, batches_by_size(DRAWN, 512, clips=9))) == 9
    assert batches_by_size([5, 700, 5], 512) == [[1], [0, 2]]
    assert batches_by_size([1] * 9, 8) == [[0, 1, 2, 3, 4], [5, 6, 7, 8]]


def test_the_next_batch_is_made_while_one_is_in_use_and_no_further():
    made, second = [], threading.Event()

    def make(item):
        made.append(item)
        if item == 1:
            second.set()
        return item

    results = ahead(make, range(5))
    assert next(results) == 0
    assert second.wait(60)
    assert made == [0, 1]
    assert list(results) == [1, 2, 3, 4]


def test_batches_are_made_in_another_thread():
    assert list(ahead(lambda _: threading.current_thread() is threading.main_thread(), range(2))) == [False, False]


def test_an_error_comes_up_where_its_batch_was_due():
    results = ahead(lambda item: 6 // item, [3, 2, 0, 1])
    assert [next(results), next(results)] == [2, 3]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == []


def test_leaving_early_leaves_no_thread_behind():
    for _ in ahead(str, range(100)):
        break
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


@pytest.fixture(scope="module")
def tiny():
    return backbones.load("tiny")


def said(*texts, before=()):
    return [Example(str(place), text, "joy", 0, before) for place, text in enumerate(texts)]


def test_lengths_are_those_of_the_texts_and_of_what_was_said_before(tiny):
    batcher = Batcher(Texts(tiny, room=8), {}, {})
    chosen = [*said("", "Hi.", "I do not know what to say about that."), *said("Hi.", before=("Ross: So?\n", "Joey:"))]
    lengths = batcher.lengths(chosen)
    batch = batcher.batch(chosen)
    assert lengths == (batch.text_mask.sum(1) + batch.context_mask.sum(1)).tolist()
    assert lengths[0] == 0
    assert lengths[2] == 8
    assert lengths[1] < lengths[3] <= 8


def test_texts_are_tokenized_in_one_call_and_once(tiny, monkeypatch):
    calls = []
    monkeypatch.setattr(
        "mse_pipeline.training.examples.encode_all",
        lambda tokenizer, texts: calls.append(list(texts)) or [(1,) * len(text) for text in texts],
    )
    batcher = Batcher(Texts(tiny), {}, {})
    chosen = said("a", "bc", "a", before=("before",))
    assert batcher.lengths(chosen) == [7, 8, 7]
    batcher.batch(chosen)
    assert [texts for texts in calls if texts] == [["a", "before", "bc"]]


def test_training_and_evaluation_see_each_clip_in_its_place(made_dataset, tiny):
    from mse_pipeline.adapter import MSEAdapter
    from mse_pipeline.recipe import PromptSection, Training
    from mse_pipeline.training import scoring
    from mse_pipeline.training.job import prepare
    from mse_pipeline.training.streams import choose_streams

    dataset = made_dataset()
    job = prepare(dataset, tiny, Training(), choose_streams(dataset, asked={}), PromptSection())
    torch.manual_seed(0)
    adapter = MSEAdapter(job.config).eval()
    chosen = job.examples[Split.TEST]
    batcher = {"batcher": job.batcher, "chosen": chosen}
    together = scoring.score_examples(tiny, adapter, job.prompt, job.answers, **batcher)
    alone = [scoring.score_steps(tiny, adapter, job.prompt, job.answers, job.batcher.batch([one])) for one in chosen]
    # Scores are near 7, and batches of other sizes add up in other orders.
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)
    assert together.shape == (9, 3)
    assert not together.is_inference()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(scoring.MOST_TOKENS, "cpu", 150)
        few = scoring.score_examples(tiny, adapter, job.prompt, job.answers, **batcher)
    torch.testing.assert_close(few, together, atol=1e-5, rtol=1e-5)
