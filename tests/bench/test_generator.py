"""The compiled generator, against an echo and against the service. Without a C compiler there is none."""

import shutil
from collections.abc import Iterator
from dataclasses import replace

import pytest

from bench import servers
from bench.generator import Load, NotRunError
from bench.peers import CEILING
from bench.servers import Server
from bench.workshop import Workshop

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("bench"), seconds=0.1, repeats=1, long=False, say=lambda what: None)


@pytest.fixture(scope="module")
def carousel(shop: Workshop) -> Iterator[Server]:
    with shop.carousel("S") as server:
        yield server


_PREDICT = Load(connections=2, length=32, predict=True)


@pytest.mark.parametrize(
    "load", [Load(connections=8), Load(connections=2, length=5), _PREDICT, replace(_PREDICT, raw=True)]
)
def test_every_step_that_is_counted_was_run_and_some_were_compared(
    load: Load, shop: Workshop, carousel: Server
) -> None:
    before = carousel.metric("carousel_steps_total")
    tally = shop.checked(load, "S", carousel)
    assert tally.all_steps == carousel.metric("carousel_steps_total") - before
    assert 0 < tally.steps <= tally.all_steps
    assert tally.sampled_steps >= tally.all_steps / 50
    assert 0 < tally.answers_p50 <= tally.answers_p95 <= tally.answers_p99 <= 1.02 * tally.answers_max


def test_a_count_is_kept_to_the_request(shop: Workshop, carousel: Server) -> None:
    tally = shop.checked(Load(connections=4, count=7, warm=0), "S", carousel)
    assert tally.all_answers == tally.answers == 4 * 7


@pytest.mark.parametrize("load", [Load(connections=4), Load("stream", 4, sessions=6, items=3, window=2, length=8)])
def test_an_echo_is_loaded_through_both_doors(load: Load, shop: Workshop, carousel: Server) -> None:
    with CEILING.start(load, "S", carousel, shop) as run:
        tally = run()
    assert not isinstance(tally, float)
    assert tally.steps > 0


def test_what_a_server_refuses_is_told(shop: Workshop, carousel: Server) -> None:
    with pytest.raises(NotRunError, match="model_not_found"):
        shop.generator.run(Load(connections=1), "M", carousel.port, 0.1)


def test_an_open_loop_keeps_its_rate(shop: Workshop, carousel: Server) -> None:
    load = Load(connections=4, rate=100, warm=0)
    tally = shop.generator.run(load, "S", carousel.port, 0.3)
    assert 1 <= tally.all_answers <= 31  # the first is due at once


def test_the_sixty_lines_answer_the_same_bits(shop: Workshop) -> None:
    with servers.sixty_lines(shop.file("S"), shop.log("sixty")) as server:
        for load in (Load(connections=3), _PREDICT):
            assert shop.checked(load, "S", server).steps > 0
