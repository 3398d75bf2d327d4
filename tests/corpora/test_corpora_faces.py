"""What a person says of faces in a table: who they are."""

import pytest

from mse_pipeline.clip import Clip, Split
from mse_pipeline.corpora.base import Corpus
from mse_pipeline.corpora.faces import read_people
from mse_pipeline.errors import UsageError
from mse_pipeline.task import Classification


@pytest.fixture
def corpus(tmp_path):
    clips = tuple(
        Clip(id=name, split=Split.TRAIN, speaker=who) for name, who in (("a", "Ann"), ("b", "Bob"), ("c", None))
    )
    return Corpus(name="table", root=tmp_path, task=Classification(("joy", "anger")), clips=clips)


def test_a_name_holds_for_a_face_a_dash_for_nobody_and_an_empty_one_says_nothing(corpus):
    text = "clip,track,name,taken_for,sure\na,0,Bob,Ann,yes\nb,2,-,,no\nc,1,,Bob,yes\nc,0, Ann ,,no\n"
    (corpus.root / "people.csv").write_text(text, encoding="utf-8-sig")
    assert read_people(corpus, "people.csv") == {("a", 0): "Bob", ("b", 2): "", ("c", 0): "Ann"}
    assert read_people(corpus, None) == {}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("clip,track,name\nzzz,0,Ann\n", "names clips that are not in the corpus: zzz"),
        ("clip,track,name\na,first,Ann\nb,,Bob\n", "lines 2, 3 have none"),
        ("clip,track,name\na\nb,-1,Bob\n", "lines 3 have none"),
        ("clip,track,name\na,0,Zoe\nb,0,ann\n", "names of nobody who speaks in the corpus: Zoe, ann"),
        ("clip,face\na,0\n", "needs the columns clip, track and name; it has clip, face"),
        ("clip,track,name\na,0,Ann\na,0,Ann\na,00,-\n", "gives track 0 of a two names; line 4 has the second"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_a_table_of_people_that_cannot_be_is_refused(corpus, content, words):
    (corpus.root / "people.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError, match=words):
        read_people(corpus, "people.csv")


@pytest.mark.parametrize(("written", "words"), [("../people.csv", "media.people leads out of"), ("none.csv", "people")])
def test_a_table_of_people_that_is_not_there_or_outside_of_the_root_is_refused(corpus, written, words):
    with pytest.raises(UsageError, match=words):
        read_people(corpus, written)
