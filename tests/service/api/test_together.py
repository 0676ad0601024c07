"""Metrics of several workers as one."""

from prometheus_client import CollectorRegistry, Metric, generate_latest

from service.api.together import Together, figures


def _told(alive: float, steps: float, models: str) -> list[Metric]:
    one, other = Metric("carousel_engine_alive", "Alive", "gauge"), Metric("carousel_steps", "Steps", "counter")
    for model in models:
        one.add_sample("carousel_engine_alive", {"model": model}, alive)
        other.add_sample("carousel_steps_total", {"model": model}, steps)
    return [one, other]


def test_series_are_added_up_and_what_works_is_the_least() -> None:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Together([figures(_told(1, 3, "ab")), figures(_told(0, 4, "bc"))]))
    text = generate_latest(registry).decode()
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert values == {
        'carousel_engine_alive{model="a"}': "1.0",
        'carousel_engine_alive{model="b"}': "0.0",
        'carousel_engine_alive{model="c"}': "0.0",
        'carousel_steps_total{model="a"}': "3.0",
        'carousel_steps_total{model="b"}': "7.0",
        'carousel_steps_total{model="c"}': "4.0",
        "carousel_workers": "2.0",
    }
    assert "# TYPE carousel_steps counter" in text or "# TYPE carousel_steps_total counter" in text
