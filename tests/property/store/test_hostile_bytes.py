"""Whatever bytes a stranger uploads: an accepted file, or an IntegrityError, and nothing else."""

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from relora_store.errors import IntegrityError
from relora_store.names import Content, check_names
from relora_store.safetensors_header import LENGTH_BYTES, parse_header
from samples.artifacts import safetensors

numbers = st.one_of(st.integers(-4, 40), st.integers(), st.floats(), st.booleans(), st.none(), st.text(max_size=3))
shapes = st.one_of(st.lists(numbers, max_size=4), numbers)
entries = st.one_of(
    numbers,
    st.fixed_dictionaries(
        {},
        optional={
            "dtype": st.sampled_from(["F32", "BF16", "U8", "X", "", 1]),
            "shape": shapes,
            "data_offsets": st.one_of(st.lists(numbers, max_size=3), numbers),
            "more": numbers,
        },
    ),
)
headers = st.dictionaries(st.one_of(st.text(max_size=5), st.just("__metadata__")), entries, max_size=4)
good = st.dictionaries(
    st.from_regex(r"[a-z][a-z0-9_.]{0,8}", fullmatch=True),
    st.lists(st.integers(0, 4), max_size=3).map(tuple),
    min_size=1,
    max_size=4,
)


def accepted(raw: bytes, size: int) -> bool:
    try:
        tensors = parse_header(raw, size, "x").tensors
    except IntegrityError:
        return False
    covered = sum(info.end - info.begin for info in tensors.values())
    assert covered == size - LENGTH_BYTES - len(raw)
    assert all(LENGTH_BYTES + len(raw) <= info.begin <= info.end <= size for info in tensors.values())
    return True


@given(st.binary(max_size=200), st.integers(0, 400))
def test_any_bytes(raw: bytes, size: int) -> None:
    accepted(raw, size)


@given(headers, st.integers(0, 200))
def test_any_json(header: dict[str, object], body: int) -> None:
    raw = json.dumps(header).encode()
    accepted(raw, LENGTH_BYTES + len(raw) + body)


@given(good)
def test_a_good_file_is_accepted_and_one_of_another_length_is_not(tensors: dict[str, tuple[int, ...]]) -> None:
    data = safetensors(tensors)
    raw = data[LENGTH_BYTES : len(data) - 4 * sum(math.prod(shape) for shape in tensors.values())]
    assert accepted(raw, len(data))
    assert not accepted(raw, len(data) + 1)
    assert not accepted(raw, len(data) - 1)


@given(st.text(max_size=40), st.sampled_from(list(Content)))
def test_an_accepted_name_stays_in_its_folder(name: str, content: Content) -> None:
    try:
        check_names([name], content)
    except IntegrityError:
        return
    assert name.isascii()
    assert not name.startswith((".", "/", "-"))
    assert ".." not in name.split("/")
    assert "\\" not in name
