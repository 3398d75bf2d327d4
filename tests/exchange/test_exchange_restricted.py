"""The pickle reader: what numpy and Python write comes in, everything else is refused and does not run."""

import codecs
import collections
import functools
import io
import os
import pickle
import struct
import tracemalloc

import numpy as np
import pytest

from mse_pipeline.errors import UsageError
from mse_pipeline.exchange import pickle_machine
from mse_pipeline.exchange.pickle_write import Pieces, write_pickle
from mse_pipeline.exchange.restricted import PickleRefused, read_pickle

RNG = np.random.default_rng(0)
LARGE = RNG.normal(size=(3, 200, 40)).astype(np.float32)
VALUES = {
    "large": LARGE,
    "column_major": np.asfortranarray(RNG.normal(size=(50, 40))),
    "big_endian": LARGE[0].astype(">f8"),
    "texts": np.array(["ab", "漢字c"]),
    "byte_texts": np.array([b"xx", b"y"]),
    "objects": np.array(["a", None, 1.5, 2], object),
    "empty": np.zeros((0, 4)),
    "truth": np.array([True, False]),
    "numbers": [1, -5, 300, 2**40, -(2**70), 1.5, True, False, None, np.float32(1.5), np.int64(7)],
    "tuples": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
    "sets": [{1, 2}, frozenset("ab"), set()],
    "ordered": collections.OrderedDict(a=1),
    "shared": [LARGE, LARGE],
    "bytes": b"abc",
    "signs": "é漢 \x92 \U0001f600",
    3: [],
    (1, "x"): {},
}


@pytest.fixture
def home(tmp_path):
    def write(data):
        path = tmp_path / "given.pkl"
        path.write_bytes(data)
        return path

    return write


def same(one, other):
    if isinstance(other, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tolist() == other.tolist()
    if isinstance(other, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in other)
    if isinstance(other, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.mark.parametrize("protocol", range(6))
def test_what_numpy_and_python_write_reads_back_in_every_protocol(home, protocol):
    assert same(read_pickle(home(pickle.dumps(VALUES, protocol))).value, VALUES)


@pytest.mark.parametrize("home_of_numpy", ["numpy.core", "numpy._core"])
def test_arrays_of_old_and_new_numpy_are_the_same(home, home_of_numpy):
    data = pickle.dumps(LARGE, 2)
    named = data.replace(b"cnumpy._core.", b"cnumpy.core.").replace(b"cnumpy.core.", b"c%s." % home_of_numpy.encode())
    assert same(read_pickle(home(named)).value, LARGE)


@pytest.mark.parametrize(("encoding", "text"), [("latin1", "caf\xe9"), ("utf-8", b"caf\xe9")])
def test_strings_of_python_2_are_read_in_the_encoding_that_is_given(home, encoding, text):
    array = np.arange(3.0)
    state = array.tobytes()
    data = (
        b"}(U\x04textU\x04caf\xe9U\x05arraycnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntU\x01btR"
        b"(I1\n(I3\ntcnumpy\ndtype\n(U\x02f8I0\nI1\ntR(I3\nU\x01<NNNI-1\nI-1\nI0\ntbI00\nT"
        + struct.pack("<i", len(state))
        + state
        + b"tbS'quoted\\n'\nI1\nu."
    )
    value = read_pickle(home(data), encoding=encoding).value
    assert value["text"] == text
    assert value["array"].tolist() == [0, 1, 2]
    assert value["quoted\n"] == 1


def test_long_arrays_of_python_2_stay_in_the_file(home):
    state = LARGE.tobytes()
    data = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntU\x01btR(I1\n(I3\nI200\nI40\ntcnumpy\ndtype\n"
        b"(U\x02f4I0\nI1\ntR(I3\nU\x01<NNNI-1\nI-1\nI0\ntbI00\nT" + struct.pack("<i", len(state)) + state + b"tb."
    )
    assert same(read_pickle(home(data)).value, LARGE)


def test_arrays_are_views_into_the_file(home):
    big = np.ones((40, 1 << 17), np.float32)
    path = home(pickle.dumps({"a": big}, 4))
    tracemalloc.start()
    file = read_pickle(path)
    assert float(file.value["a"][7].sum()) == 1 << 17
    file.release()
    assert float(file.value["a"][7, :5].sum()) == 5
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < big.nbytes / 10
    assert not file.value["a"].flags.writeable


class Reduced:
    def __init__(self, *made):
        self.made = made

    def __reduce__(self):
        return self.made


class Stateful:
    def __setstate__(self, state):
        os.system(state)

    def __getstate__(self):
        return "touch CANARY"


class Persistent(pickle.Pickler):
    def persistent_id(self, one):
        return "elsewhere" if isinstance(one, set) else None


def persistent():
    file = io.BytesIO()
    Persistent(file).dump({1})
    return file.getvalue()


def state(array_state, dtype=b"f4"):
    """A pickle of an array with a state of one's own: what follows version 1."""
    return (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
        + array_state.replace(
            b"DTYPE",
            b"cnumpy\ndtype\nU" + bytes([len(dtype)]) + dtype + b"K\x00K\x01\x87R(K\x03U\x01<NNNJ"
            b"\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
        )
        + b"tb."
    )


TOUCH = "touch CANARY"
HOSTILE = {
    "os.system": (lambda: pickle.dumps(Reduced(os.system, (TOUCH,))), "posix.system"),
    "eval": (lambda: pickle.dumps(Reduced(eval, ("open('CANARY','w')",))), "builtins.eval"),
    "nested reduce": (
        lambda: pickle.dumps({"a": [Reduced(list, (Reduced(functools.partial, (os.system, TOUCH)),))]}),
        "builtins.list",
    ),
    "setstate": (lambda: pickle.dumps(Stateful()), "Stateful"),
    "codecs decode": (lambda: pickle.dumps(Reduced(codecs.decode, (b"x", "unicode_escape"))), "_codecs.decode"),
    "codecs encode": (lambda: pickle.dumps(Reduced(codecs.encode, ("x", "rot13"))), "other arguments"),
    "persistent id": (persistent, "persistent id"),
    "persistent id, protocol 0": (lambda: b"Pelsewhere\n.", "persistent id"),
    "objects with a payload": (
        lambda: pickle.dumps(np.array([Reduced(os.system, (TOUCH,)), 1], object)),
        "posix.system",
    ),
    "objects that are arrays": (lambda: pickle.dumps(np.array([np.ones(2), {}], object)), "objects, one of them"),
    "memo bomb": (
        lambda: (
            b"\x80\x04]\x94("
            + b"K\x01" * 1000
            + b"e0c__builtin__\nset\n"
            + b"h\x00\x85R"
            + b"c__builtin__\nset\nh\x00\x85R" * 2000
            + b"."
        ),
        "more data than the file",
    ),
    "text bomb": (
        lambda: (
            b"\x80\x04X"
            + struct.pack("<I", 5000)
            + b"a" * 5000
            + b"\x94"
            + b"c_codecs\nencode\nh\x00U\x06latin1\x86R0" * 1000
            + b"."
        ),
        "more data than the file",
    ),
    "key that takes centuries to hash": (lambda: b"\x80\x04}K\x01\x85" + b"2\x86" * 60 + b"Ns.", "as a key"),
    "cut off": (lambda: pickle.dumps({"a": LARGE}, 4)[:5000], "cut off"),
    "cut off in a line": (lambda: b"cnumpy", "cut off"),
    "wrong protocol": (lambda: b"\x80\x09" + pickle.dumps({})[2:], "protocol 9"),
    "empty": (lambda: b"", "no bytes"),
    "no pickle": (lambda: b"PK\x03\x04 a zip archive, as torch writes", "is a zip archive that is cut off"),
    "text file": (lambda: b"video_id,clip_id\n", "does not begin"),
    "10^9 bytes claimed": (lambda: b"\x80\x04\x8e" + struct.pack("<Q", 10**9) + b"abc.", "1,000,000,000 bytes"),
    "frame of 10^9 bytes": (lambda: b"\x80\x04\x95" + struct.pack("<Q", 10**9) + b"N.", "1,000,000,000 bytes"),
    "10^9 elements claimed": (
        lambda: state(b"J" + struct.pack("<i", 10**9) + b"\x85DTYPE\x89U\x04abcd"),
        "4,000,000,000",
    ),
    "10^9 empty rows": (lambda: state(b"J" + struct.pack("<i", 10**9) + b"K\x00\x86DTYPE\x89U\x00"), "without any"),
    "10^9 objects": (
        lambda: state(b"J" + struct.pack("<i", 10**9) + b"\x85DTYPE\x89]", b"O8"),
        "1,000,000,000 objects",
    ),
    "negative shape": (lambda: state(b"J\xff\xff\xff\xff\x85DTYPE\x89U\x00"), "shape is none"),
    "array without a dtype": (lambda: state(b"K\x01\x85N\x89U\x00"), "without a dtype"),
    "array of nothing": (lambda: state(b"K\x01\x85DTYPE\x89N"), "not bytes"),
    "signs that there are not": (lambda: state(b"K\x01\x85DTYPE\x89U\x04\xff\xff\xff\xff", b"U1"), "characters"),
    "short state": (lambda: state(b""), "state is not numpy"),
    "array that is never filled": (
        lambda: b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R.",
        "never filled",
    ),
    "dtype with fields": (
        lambda: pickle.dumps(np.zeros(2, [("a", "f4")])),
        "dtype",
    ),
    "dates": (lambda: pickle.dumps(np.zeros(2, "M8[s]")), "the dtype 'M8'"),
    "byte order": (lambda: pickle.dumps(np.zeros(2)).replace(b"\x8c\x01<", b"\x8c\x01?"), "byte order"),
    "object scalar": (
        lambda: b"cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nU\x02O8K\x00K\x01\x87RU\x00\x86R.",
        "scalar",
    ),
    "class": (lambda: b"(cnumpy\nndarray\no.", "object of a class"),
    "class by lines": (lambda: b"(iposix\nsystem\n.", "posix.system"),
    "allowed class by lines": (lambda: b"(inumpy\nndarray\n.", "object of a class"),
    "extension": (lambda: b"\x82\x01.", "extension registry"),
    "buffer elsewhere": (lambda: pickle.dumps(LARGE, 5, buffer_callback=lambda _: None), "outside of the file"),
    "a function as a value": (lambda: b"cnumpy\nndarray\n.", "numpy.ndarray as a value"),
    "global without a name": (lambda: b"K\x01K\x02\x93.", "not text"),
    "call of a number": (lambda: b"K\x01)R.", "calls a int"),
    "state of a list": (lambda: b"]Nb.", "state of a list"),
    "deep": (lambda: b"]" * 100_000 + b"a" * 99_999 + b".", "nested more than"),
    "deep tuples": (lambda: b"N" + b"\x85" * 100_000 + b".", "nested more than"),
    "long text": (lambda: b"X" + struct.pack("<I", 1 << 17) + b"a" * (1 << 17) + b".", "text of 131,072"),
    "long bytes": (lambda: b"\x8e" + struct.pack("<Q", 1 << 17) + b"a" * (1 << 17) + b".", "131,072 bytes"),
    "long number": (lambda: b"\x8b" + struct.pack("<i", 5000) + b"a" * 5000 + b".", "5,000 bytes"),
    "long number in digits": (lambda: b"L" + b"9" * 5000 + b"L\n.", "5,001 digits"),
    "unknown memory": (lambda: b"h\x07.", "value 7 of its memo"),
    "empty stack": (lambda: b"0.", "cannot be carried out"),
    "nothing to add to": (lambda: b"NNa.", "adds to a NoneType"),
    "below a mark": (lambda: b"]N(a.", "an empty stack"),
    "nothing on top": (lambda: b"q\x00.", "an empty stack"),
    "not whole": (lambda: b"NN.", "before its value is whole"),
    "odd dictionary": (lambda: b"(Nd.", "cannot be carried out"),
    "string without quotes": (lambda: b"Sabc\n.", "without quotes"),
    "unknown step": (lambda: b"N\xff.", "0xff"),
    "several pickles": (lambda: pickle.dumps({}) + pickle.dumps({}), "bytes follow its end: several pickles"),
    "line ends of Windows": (lambda: b"(dp0\r\nVa\r\nI1\r\ns.", "line ends of Windows"),
    "strange object": (lambda: pickle.dumps(3 + 4j), "complex"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_refused_and_do_not_run(home, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make, told = HOSTILE[name]
    path = home(make())
    with pytest.raises(PickleRefused, match=told) as refused:
        read_pickle(path)
    assert str(path) in str(refused.value)
    assert not (tmp_path / "CANARY").exists()


def test_the_canary_would_sing_with_pythons_own_reader(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(HOSTILE["os.system"][0]())
    assert (tmp_path / "CANARY").exists()


def test_a_claim_of_a_billion_elements_costs_no_memory(home):
    path = home(HOSTILE["10^9 elements claimed"][0]())
    tracemalloc.start()
    with pytest.raises(PickleRefused):
        read_pickle(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_a_file_of_endless_steps_is_refused(home, monkeypatch):
    monkeypatch.setattr(pickle_machine, "MAX_STEPS", 1000)
    with pytest.raises(PickleRefused, match="more than 1,000 steps"):
        read_pickle(home(b"N0" * 2000 + b"N."))


def test_a_mark_can_be_dropped_and_values_be_doubled(home):
    assert read_pickle(home(b"N(0(NN10K\x012\x86.")).value == (1, 1)


def test_a_damaged_pickle_never_gives_another_error(home):
    data = bytearray(pickle.dumps({"a": LARGE[0, :4], "b": ["x", 1.5, {"c": (1, 2)}]}, 2))
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(400):
        broken = bytearray(data)
        for place in rng.integers(0, len(data), 3):
            broken[place] = rng.integers(256)
        try:
            read_pickle(home(bytes(broken)))
        except PickleRefused:
            refused += 1
    assert refused > 50


@pytest.mark.parametrize(
    ("path", "encoding", "told"), [("missing", "utf-8", "cannot be read"), (".", "x", "one of utf")]
)
def test_what_cannot_be_opened_is_told(tmp_path, path, encoding, told):
    with pytest.raises(UsageError, match=told):
        read_pickle(tmp_path / path, encoding=encoding)


def test_the_writer_writes_what_python_and_the_reader_read(home):
    value = {
        "plain": [1, -3, 2**40, -(2**70), 1.5, True, False, None, "é漢", b"x", (1,), ()],
        "array": LARGE,
        "pieces": Pieces(LARGE.shape, LARGE.dtype, lambda: iter(LARGE)),
        "truth": np.array([True, False]),
        "list": iter([1, 2]),
    }
    file = io.BytesIO()
    write_pickle(value, file)
    expected = {**value, "pieces": LARGE, "list": [1, 2]}
    assert same(pickle.loads(file.getvalue()), expected)
    assert same(read_pickle(home(file.getvalue())).value, expected)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (object(), TypeError),
        (np.array(["a"]), TypeError),
        (Pieces((3, 2), np.dtype("f4"), lambda: iter([np.zeros((2, 2))])), ValueError),
    ],
)
def test_the_writer_refuses_what_it_cannot_write(value, error):
    with pytest.raises(error):
        write_pickle(value, io.BytesIO())


def objects(*values, shape=None):
    array = np.empty(len(values), object)
    for place, value in enumerate(values):
        array[place] = value
    return array.reshape(shape) if shape is not None else array


class Names(dict):
    def __reduce__(self):
        return collections.OrderedDict, ([[key, value] for key, value in self.items()],)


def filled(container, **values):
    container.update(values)
    return container


PLAIN = {
    "defaultdict of dict": (filled(collections.defaultdict(dict), a={"b": 1}), {"a": {"b": 1}}),
    "defaultdict of list": (filled(collections.defaultdict(list), a=[1]), {"a": [1]}),
    "defaultdict of int": (filled(collections.defaultdict(int), a=1), {"a": 1}),
    "defaultdict of float": (collections.defaultdict(float), {}),
    "defaultdict of str": (collections.defaultdict(str), {}),
    "defaultdict of bool": (collections.defaultdict(bool), {}),
    "defaultdict of tuple": (collections.defaultdict(tuple), {}),
    "defaultdict of set": (filled(collections.defaultdict(set), a={1}), {"a": {1}}),
    "defaultdict of OrderedDict": (collections.defaultdict(collections.OrderedDict), {}),
    "defaultdict of defaultdict": (collections.defaultdict(collections.defaultdict), {}),
    "defaultdict of nothing": (filled(collections.defaultdict(), a=1), {"a": 1}),
    "two defaultdicts": ([collections.defaultdict(list), collections.defaultdict(list)], [{}, {}]),
    "nested defaultdicts": (
        filled(collections.defaultdict(dict), a=filled(collections.defaultdict(list), b=[1])),
        {"a": {"b": [1]}},
    ),
    "OrderedDict": (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    "OrderedDict of Python 2": (Names(b=1, a=2), {"b": 1, "a": 2}),
    "Counter": (collections.Counter("abca"), {"a": 2, "b": 1, "c": 1}),
    "empty Counter": (collections.Counter(), {}),
    "deque": (collections.deque([1, 2]), [1, 2]),
    "deque of a length": (collections.deque([1, 2, 3], maxlen=2), [2, 3]),
    "bytearray": (bytearray(b"abc\xff"), b"abc\xff"),
    "empty bytearray": (bytearray(), b""),
    "longer bytearray": (bytearray(5000), bytes(5000)),
    "longer bytes": (bytes(5000), bytes(5000)),
    "set": ({1, "a"}, {1, "a"}),
    "frozenset": (frozenset({1, "a"}), frozenset({1, "a"})),
    "numpy scalars": ([np.float32(1.5), np.int64(3), np.bool_(True), np.str_("x")], [1.5, 3, True, "x"]),
    "numpy scalars as keys": ({np.int64(3): 1, np.str_("x"): 2}, {3: 1, "x": 2}),
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(("value", "expected"), PLAIN.values(), ids=PLAIN)
def test_plain_containers_come_in_as_plain_values(home, protocol, value, expected):
    found = read_pickle(home(pickle.dumps(value, protocol))).value
    assert found == expected
    assert type(found) is type(expected) or isinstance(found, memoryview)
    if isinstance(expected, dict):
        assert list(found) == list(expected)


RAGGED = {
    "arrays of several lengths": objects(np.ones((2, 3)), np.zeros((4, 3))),
    "arrays of one length": objects(np.ones(3), np.zeros(3)),
    "lists": objects([1, 2], [3]),
    "tuples and texts": objects((1, 2), "a", None),
    "two axes": objects(np.ones(1), np.ones(2), np.ones(3), np.ones(4), shape=(2, 2)),
    "within one another": objects(objects(np.ones(2), np.ones(3)), np.ones(1)),
    "a dictionary without axes": objects({"a": {"emo": "joy"}}, shape=()),
}


def as_lists(value):
    if isinstance(value, np.ndarray):
        return as_lists(value.item()) if value.shape == () else [as_lists(one) for one in value]
    return [as_lists(one) for one in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("array", RAGGED.values(), ids=RAGGED)
def test_ragged_arrays_come_in(home, protocol, array):
    found = read_pickle(home(pickle.dumps(array, protocol))).value
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert as_lists(found) == as_lists(array)


class Makes(collections.defaultdict):
    """A defaultdict that names another function for its values."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def __reduce__(self):
        return collections.defaultdict, (self.function,)


def in_a_cell(value):
    return objects({"a": objects(value)}, shape=())


MORE_HOSTILE = {
    "a function that makes values": (lambda: Makes(os.system), "posix.system"),
    "a builtin that makes values": (lambda: Makes(eval), "builtin.*eval"),
    "a method that makes values": (lambda: Makes(dict.fromkeys), "getattr"),
    "a type as a value": (lambda: [collections.defaultdict(list), dict], "builtin.*dict"),
    "a type of a defaultdict as a value": (lambda: [collections.defaultdict(list), list], "builtins.list as a value"),
    "a call of a type": (lambda: [collections.defaultdict(list), Reduced(list, ())], "calls builtins.list"),
    "OrderedDict of no pairs": (lambda: Reduced(collections.OrderedDict, ([[1, 2, 3]],)), "other things than pairs"),
    "Counter of a text": (lambda: Reduced(collections.Counter, ("abc",)), "calls collections.Counter"),
    "a huge bytearray": (lambda: Reduced(bytearray, (10**9,)), "calls builtins.bytearray"),
    "a payload in a ragged array": (lambda: objects(np.ones(2), Reduced(os.system, (TOUCH,))), "posix.system"),
    "a payload in a cell": (lambda: in_a_cell(Reduced(os.system, (TOUCH,))), "posix.system"),
    "sets in an array": (lambda: objects({1}, {2}), "objects, one of them a set"),
    "a type in a list in an array": (lambda: objects([collections.defaultdict(list), list]), "list as a value"),
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", MORE_HOSTILE)
def test_plain_containers_are_no_way_in(home, name, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make, told = MORE_HOSTILE[name]
    path = home(pickle.dumps(make(), protocol))
    with pytest.raises(PickleRefused, match=told):
        read_pickle(path)
    assert not (tmp_path / "CANARY").exists()


def test_arrays_within_arrays_are_no_way_to_any_depth(home):
    deep = np.ones(1)
    for _ in range(100):
        deep = objects(deep)
    with pytest.raises(PickleRefused, match="nested more than"):
        read_pickle(home(pickle.dumps(deep)))


P = (1 << 61) - 1


def number(value):
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def tuple_of(*values):
    return b"(" + b"".join(map(number, values)) + b"t"


ALIKE = {
    "numbers": [number(P * n) for n in range(1, 300)],
    "numbers below 0": [number(-P * n) for n in range(1, 300)],
    "numbers beside each other": [number(P * n + 5) for n in range(1, 300)],
    "tuples of numbers": [tuple_of(P * n, 7) for n in range(1, 300)],
    "floats": [b"G" + struct.pack(">d", 2.0 ** (61 * k) * m) for m in range(1, 40) for k in range(1, 8)],
}
WAYS = {
    "dictionary at once": lambda keys: b"}(" + b"".join(key + b"N" for key in keys) + b"u",
    "dictionary one by one": lambda keys: b"}" + b"".join(key + b"Ns" for key in keys),
    "dictionary from a mark": lambda keys: b"(" + b"".join(key + b"N" for key in keys) + b"d",
    "set at once": lambda keys: b"\x8f(" + b"".join(keys) + b"\x90",
    "set one by one": lambda keys: b"\x8f" + b"".join(b"(" + key + b"\x90" for key in keys),
    "frozenset": lambda keys: b"(" + b"".join(keys) + b"\x91",
    "set of a list": lambda keys: b"cbuiltins\nset\n](" + b"".join(keys) + b"e\x85R",
    "frozenset of a list": lambda keys: b"cbuiltins\nfrozenset\n](" + b"".join(keys) + b"e\x85R",
    "OrderedDict of pairs": lambda keys: (
        b"ccollections\nOrderedDict\n](" + b"".join(b"](" + key + b"Ne" for key in keys) + b"e\x85R"
    ),
    "defaultdict": lambda keys: b"ccollections\ndefaultdict\n)R(" + b"".join(key + b"N" for key in keys) + b"u",
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [kind for kind in ALIKE if kind != "floats"])
def test_keys_that_hash_alike_are_refused(home, kind, way):
    with pytest.raises(PickleRefused, match="more than 64 keys with one hash"):
        read_pickle(home(b"\x80\x04" + WAYS[way](ALIKE[kind]) + b"."))


@pytest.mark.parametrize("way", WAYS)
def test_few_floats_can_hash_alike_and_are_read(home, way):
    assert len(read_pickle(home(b"\x80\x04" + WAYS[way](ALIKE["floats"]) + b".")).value) == 39 * 7


def test_memos_cannot_be_numbered_so_that_they_hash_alike(home):
    with pytest.raises(PickleRefused, match="numbers a value of its memo beyond"):
        read_pickle(home(b"N" + b"p%d\n" % P + b"."))


def test_many_keys_of_usual_kinds_are_read(home):
    value = {
        "numbers": {n: n for n in range(-5000, 5000)},
        "ids": {P // 3 + n: n for n in range(5000)},
        "pairs": {(dialogue, turn): 0 for dialogue in range(300) for turn in range(20)},
        "times": {n / 7: n for n in range(5000)},
        "texts": {f"video_{n}" for n in range(5000)},
        "large": {3**n for n in range(1, 250)},
    }
    assert read_pickle(home(pickle.dumps(value))).value == value


def test_the_same_key_again_and_again_is_one(home):
    key = number(P * 3)
    assert read_pickle(home(b"}" + (key + b"Ns") * 500 + b".")).value == {P * 3: None}


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("claimed", [2, 4])
def test_an_array_has_neither_more_nor_fewer_bytes_than_its_shape_says(home, protocol, claimed):
    data = pickle.dumps(np.arange(3.0), protocol)
    assert data.count(b"K\x03\x85") == 1
    path = home(data.replace(b"K\x03\x85", b"K%c\x85" % claimed))
    with pytest.raises(PickleRefused, match=rf"claims an array of shape \({claimed},\).*but has 24 bytes"):
        read_pickle(path)
