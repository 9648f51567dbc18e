"""A pickle is parsed as data: its names are not resolved, so that nothing can be called or set."""

import io
import os
import pickle
import random
from collections import OrderedDict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.pickles import STOP, named, put
from worldtune.core.tensors.pickle_parser import DamagedFileError, Name, Node, PersistentId, parse_pickle

HEAD = b"\x80\x04"
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inside: st.lists(inside) | st.tuples(inside, inside) | st.dictionaries(st.text(), inside),
    max_leaves=20,
)


def read(content: bytes) -> Any:
    return parse_pickle(io.BytesIO(content), lambda name: True)


def plain(value: Any) -> Any:
    """Return the value with dictionaries in place of their nodes."""
    if isinstance(value, Node):
        return {key: plain(entry) for key, entry in value.pairs}
    return type(value)(map(plain, value)) if isinstance(value, list | tuple) else value


@given(value=PLAIN, protocol=st.integers(3, pickle.HIGHEST_PROTOCOL))
def test_plain_data_reads_back(value: Any, protocol: int) -> None:
    assert plain(read(pickle.dumps(value, protocol))) == value


def test_calls_become_nodes() -> None:
    found = read(pickle.dumps(OrderedDict(a=1)))
    assert (str(found.constructor), found.args, found.pairs) == ("collections.OrderedDict", (), [("a", 1)])
    found = read(HEAD + named("os", "system") + put("touch ran") + b"\x85R" + STOP)
    assert (str(found.constructor), found.args) == ("os.system", ("touch ran",))
    assert read(HEAD + put("key") + b"Q" + STOP).id == "key"


class Guarded:
    """A class that the pickles below try to change."""

    value = "as it was"


HOSTILE = {
    "a slot state of a class": named(__name__, "Guarded") + b"N}" + put("value") + put("other") + b"s\x86b",
    "a state of a class": named(__name__, "Guarded") + b"}" + put("value") + put("other") + b"sb",
    "a state of a function": named("os", "getcwd") + b"N}" + put("__defaults__") + b")s\x86b",
    "a state of a module": named("os", "path") + b"N}" + put("sep") + put("x") + b"s\x86b",
    "a state twice": named(__name__, "Guarded") + b")\x81}b}b",
    "a call of a call": named("builtins", "getattr") + named("os", "path") + put("join") + b"\x86R)R",
    "a call of a text": put("os.system") + put("touch ran") + b"\x85R",
    "an old instance": b"(ios\nsystem\n",
    "an old object": b"(" + named("os", "system") + put("touch ran") + b"o",
    "an extension": b"\x82\x01",
    "keywords": named("os", "system") + b")}\x92",
    "items of a list": b"]K\x00K\x01s",
    "missing memo entry": b"h\x07",
    "an empty stack": b"R",
    "no mark": b"t",
    "an odd number of items": b"}(K\x01u",
    "a huge text": b"\x8d" + (1 << 60).to_bytes(8, "little"),
    "a huge place": b"r\xff\xff\xff\xffN.",
    "a number of 5000 digits": b"I" + b"9" * 5000 + b"\n",
    "tuples that unfold to 2^60": b"N" + b"\x85\x94" + b"".join(b"h%ch%c\x86\x94" % (n, n) for n in range(60)),
    "tuples nested 5000 deep": b"N" + b"\x85" * 5000,
    "not closed": b"K\x01",
    "no pickle": b"\xff\xfe",
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_pickle_is_an_error_or_inert(what: str) -> None:
    guarded, own = dict(vars(Guarded)), os.path.sep
    content = HEAD + HOSTILE[what]
    with pytest.raises(DamagedFileError):
        read(content if what in ("not closed", "no pickle") else content + STOP)
    assert dict(vars(Guarded)) == guarded
    assert os.path.sep == own
    assert os.getcwd.__class__.__name__ == "builtin_function_or_method"


def test_disallowed_name_is_an_error() -> None:
    def admits(name: Name) -> bool:
        return str(name) == "collections.OrderedDict"

    parse_pickle(io.BytesIO(pickle.dumps(OrderedDict())), admits)
    for content in (
        b"cos\nsystem\n.",
        b"ccollections\nOrderedDict.x\n.",
        HEAD + named("collections", "Counter") + STOP,
    ):
        with pytest.raises(DamagedFileError, match="the pickle has the disallowed name"):
            parse_pickle(io.BytesIO(content), admits)
    with pytest.raises(DamagedFileError):
        parse_pickle(io.BytesIO(HEAD + b"K\x01K\x02\x93."), admits)


def test_mutated_pickle_is_an_error_or_data() -> None:
    generator = random.Random(0)
    whole = pickle.dumps([OrderedDict(a=(1, "b")), {"c": [2.5, b"d"]}, Guarded(), PersistentId])
    for _ in range(500):
        content = bytearray(whole)
        for _ in range(generator.choice([1, 2, 5])):
            content[generator.randrange(len(content))] = generator.randrange(256)
        try:
            read(bytes(content))
        except DamagedFileError as error:
            assert "\n" not in str(error)  # noqa: PT017  a mutated file may also be readable
