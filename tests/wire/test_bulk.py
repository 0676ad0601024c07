"""Many sessions at once over REST: pages of them, deletes by filter, and forks of one into many."""

from typing import Any

import httpx
import numpy as np
import pytest

from tests.wire.expect import bits, done, refused
from tests.wire.oracle import Oracle


def opened(http: httpx.Client, ids: list[str], model: str = "lstm") -> list[str]:
    for id in ids:
        done(http.post(f"/v1/models/{model}/sessions", json={"id": id}), 201)
    return ids


def pages(http: httpx.Client, **asked: Any) -> list[list[str]]:
    found, after = list[list[str]](), dict[str, str]()
    while True:
        told = done(http.get("/v1/sessions", params=asked | after))
        found.append([one["id"] for one in told["sessions"]])
        if "next" not in told:
            return found
        after = {"after": told["next"]}


def test_pages_are_sorted_by_id_and_say_where_the_next_one_begins(http: httpx.Client, name: str) -> None:
    ids = opened(http, [f"{name}-{index}" for index in (3, 0, 10, 2, 1)])
    assert pages(http, prefix=name, limit=2) == [sorted(ids)[:2], sorted(ids)[2:4], sorted(ids)[4:]]
    assert pages(http, prefix=name, limit=5) == [sorted(ids)]
    assert pages(http, prefix=f"{name}-1") == [[f"{name}-1", f"{name}-10"]]
    assert pages(http, prefix=name, after=f"{name}-2") == [[f"{name}-3"]]


def test_a_page_tells_the_session_object_whether_it_is_resident_and_how_long_it_idles(
    http: httpx.Client, name: str
) -> None:
    opened(http, [name])
    [told] = done(http.get("/v1/sessions", params={"prefix": name}))["sessions"]
    alone = done(http.get(f"/v1/sessions/{name}"))
    assert told.keys() - alone.keys() == {"resident", "idle_seconds"}
    assert told["resident"] is True
    assert 0 <= told["idle_seconds"] < 20
    assert {key: told[key] for key in ("id", "model", "version", "step")} == {
        **{"id": name, "model": "lstm", "version": "10", "step": 0}
    }


def test_a_filter_by_model_goes_over_pages(http: httpx.Client, name: str) -> None:
    opened(http, [f"{name}-{index}" for index in range(0, 6, 2)], "gru")
    opened(http, [f"{name}-{index}" for index in range(1, 6, 2)])
    assert pages(http, prefix=name, model="gru", limit=2) == [[f"{name}-0", f"{name}-2"], [f"{name}-4"]]
    assert pages(http, prefix=name, model="nobody") == [[]]


def test_pages_are_complete_while_sessions_come_and_go(http: httpx.Client, name: str) -> None:
    stays = opened(http, [f"{name}-{index:02}" for index in range(0, 40, 2)])
    found, after = list[str](), name
    for index in range(1, 40, 2):
        opened(http, [f"{name}-{index:02}"])
        told = done(http.get("/v1/sessions", params={"prefix": name, "after": after, "limit": 3}))
        http.delete(f"/v1/sessions/{name}-{index:02}")
        found += [one["id"] for one in told["sessions"]]
        if "next" not in told:
            break
        after = told["next"]
    assert [id for id in found if id in stays] == stays
    assert found == sorted(set(found))


@pytest.mark.parametrize(
    "asked", ["limit=0", "limit=1001", "limit=x", "limit=", "modle=lstm", "limit=1&limit=2", "all=true"]
)
def test_a_query_that_is_not_understood_is_refused(http: httpx.Client, asked: str) -> None:
    refused(http.get(f"/v1/sessions?{asked}"), "invalid_request")


def test_a_delete_by_filter_deletes_what_it_lets_through_and_nothing_else(http: httpx.Client, name: str) -> None:
    mine = opened(http, [f"{name}-a{index}" for index in range(250)])
    other, grus = opened(http, [f"{name}-b"]), opened(http, [f"{name}-a-gru"], "gru")
    answer = http.delete("/v1/sessions", params={"prefix": f"{name}-a", "model": "lstm"})
    assert done(answer) == {"deleted": len(mine)}
    assert pages(http, prefix=name) == [[*grus, *other]]
    assert done(http.delete("/v1/sessions", params={"prefix": name})) == {"deleted": 2}
    assert done(http.delete("/v1/sessions", params={"prefix": name})) == {"deleted": 0}


@pytest.mark.parametrize("asked", ["", "all=false", "prefix=", "all=yes", "al=true&all=true", "model="])
def test_a_delete_without_a_filter_needs_all(http: httpx.Client, name: str, asked: str) -> None:
    opened(http, [name])
    refused(http.delete(f"/v1/sessions?{asked}"), "invalid_request")
    assert pages(http, prefix=name) == [[name]]


def test_a_session_is_forked_into_many_each_of_which_goes_its_own_way(
    http: httpx.Client, name: str, oracle: Oracle, rng: np.random.Generator
) -> None:
    inputs = oracle.inputs(rng, 3)
    opened(http, [name])
    done(http.post(f"/v1/sessions/{name}/steps", json={"inputs": inputs[:2].tolist()}))
    copies = done(http.post(f"/v1/sessions/{name}/fork", json={"count": 10_000}), 201)["sessions"]
    assert len({copy["id"] for copy in copies}) == 10_000
    assert {(copy["model"], copy["version"], copy["step"]) for copy in copies} == {("lstm", "10", 2)}
    for copy in (copies[0], copies[-1]):
        told = done(http.post(f"/v1/sessions/{copy['id']}/steps", json={"inputs": inputs[2:].tolist(), "step": 2}))
        assert bits(told["outputs"]) == bits(oracle.whole(inputs)[2:])
    assert done(http.get(f"/v1/sessions/{copies[5]['id']}"))["step"] == 2
    asked = {"ids": [f"{name}-{index:04}" for index in range(3000)]}
    done(http.post(f"/v1/sessions/{copies[0]['id']}/fork", json=asked), 201)
    assert done(http.delete("/v1/sessions", params={"prefix": f"{name}-"})) == {"deleted": 3000}


def test_copies_have_the_ids_that_were_asked_for_in_that_order(http: httpx.Client, name: str) -> None:
    opened(http, [name])
    ids = [f"{name}-{index}" for index in (2, 0, 1)]
    copies = done(http.post(f"/v1/sessions/{name}/fork", json={"ids": ids}), 201)["sessions"]
    assert [copy["id"] for copy in copies] == ids
    refused(http.post(f"/v1/sessions/{name}/fork", json={"ids": [f"{name}-new", ids[0]]}), "session_exists")
    refused(http.get(f"/v1/sessions/{name}-new"), "session_not_found")


@pytest.mark.parametrize(
    "asked",
    [
        *({"count": 0}, {"count": -1}, {"count": True}, {"count": 1.5}, {"count": 2, "id": "a"}, {"ids": []}),
        *({"ids": ["a", "a"]}, {"ids": ["a", "."]}, {"ids": [7]}, {"ids": "ab"}, {"ids": ["a"], "count": 1}),
    ],
)
def test_what_is_no_list_of_copies_is_refused(http: httpx.Client, name: str, asked: Any) -> None:
    opened(http, [name])
    refused(http.post(f"/v1/sessions/{name}/fork", json=asked), "invalid_request")


def test_more_copies_than_there_may_ever_be_are_too_large(http: httpx.Client, name: str) -> None:
    opened(http, [name])
    refused(http.post(f"/v1/sessions/{name}/fork", json={"count": 10**12}), "payload_too_large")
