"""The OpenAPI document and its page."""

import json
import re
from pathlib import Path

import httpx

from service.errors import CarouselError
from tests.wire.expect import STATUS, done

DOCUMENT = Path(__file__).parents[2] / "docs/openapi.json"


def test_the_document_in_the_repository_is_the_one_that_is_served(http: httpx.Client) -> None:
    assert done(http.get("/openapi.json")) == json.loads(DOCUMENT.read_bytes()), "write it anew with `make openapi`"


def test_every_route_says_its_errors_by_code_and_status() -> None:
    for path, operations in json.loads(DOCUMENT.read_bytes())["paths"].items():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                if "application/problem+json" in answer.get("content", {}):
                    codes = answer["description"].split(", ")
                    assert {str(STATUS[code]) for code in codes} == {status}, path
                    assert ("Retry-After" in answer["headers"]) == ("overloaded" in codes), path


def test_the_error_tree_is_the_table_of_the_wire() -> None:
    def tree(kind: type[CarouselError]) -> dict[str, int]:
        return {kind.code: kind.status} | {
            code: status for child in kind.__subclasses__() for code, status in tree(child).items()
        }

    assert tree(CarouselError) == STATUS


def test_the_page_needs_no_internet(http: httpx.Client) -> None:
    page = http.get("/docs")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert not re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]+", page.text)
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(links) >= 3
    for link in links:
        answer = http.get(link)
        assert (answer.status_code, bool(answer.content)) == (200, True)


def test_metrics_are_prometheus_text_and_count_what_happened(http: httpx.Client, name: str) -> None:
    def opened() -> float:
        (line,) = re.findall(r"^carousel_sessions_opened_total (.*)$", http.get("/metrics").text, re.MULTILINE)
        return float(line)

    before = opened()
    done(http.post("/v1/models/lstm/sessions", json={"id": name}), 201)
    assert opened() == before + 1
    assert http.get("/metrics").headers["content-type"].startswith("text/plain; version=0.0.4")
    assert name not in http.get("/metrics").text
