"""Bodies of requests, and what is nearly one."""

import json

from hypothesis import strategies as st

numbers = st.one_of(st.floats(allow_nan=False), st.floats(width=32, allow_nan=False), st.integers(-(2**70), 2**70))
odd = st.one_of(st.booleans(), st.none(), st.text(max_size=2), st.lists(numbers, max_size=2))
rows = st.integers(0, 3).flatmap(lambda width: st.lists(st.lists(numbers, min_size=width, max_size=width), max_size=4))
ragged = st.lists(st.lists(st.one_of(numbers, odd), max_size=3), max_size=3)
named = st.lists(st.dictionaries(st.sampled_from("abc"), st.one_of(numbers, odd), max_size=3), max_size=3)
sequences = st.one_of(rows, ragged, named, odd)
values = {
    "inputs": sequences,
    "history": sequences,
    "sequences": st.one_of(st.lists(sequences, max_size=3), odd),
    "items": st.one_of(st.lists(st.one_of(st.fixed_dictionaries({"inputs": sequences}), odd), max_size=3), odd),
    "step": st.one_of(st.integers(), odd),
    "open": st.one_of(st.booleans(), st.fixed_dictionaries({"model": st.text(max_size=3), "x": odd})),
}
bodies = st.fixed_dictionaries({}, optional=values)
spaces = st.sampled_from([(",", ":"), (", ", ": "), (" , ", "\n:\t")])
tokens = st.sampled_from(
    [*'[]{},:"-+.eE019 \\', "true", "null", "NaN", "1e400", "1e39", "[1,2]", '"inputs":', '"a":', "\ufeff"]
)


@st.composite
def written(draw: st.DrawFn) -> bytes:
    return json.dumps(draw(bodies), separators=draw(spaces), ensure_ascii=draw(st.booleans())).encode()


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    text = draw(written()).decode()
    for _ in range(draw(st.integers(1, 3))):
        begin = draw(st.integers(0, len(text)))
        text = text[:begin] + draw(tokens) + text[begin + draw(st.integers(0, 2)) :]
    return text.encode() + draw(st.sampled_from([b"", b"", b"\xff"]))
