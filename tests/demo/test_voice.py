"""How the voice demo cuts audio into steps and probabilities into spans of speech."""

import numpy as np

from demo.voice import BEFORE, FRAME, RATE, frames, spaced, spans


def test_a_step_has_the_end_of_the_step_before_and_new_samples() -> None:
    audio = np.arange(3 * FRAME + 5, dtype=np.float32)
    steps = list(frames(audio))
    assert [len(step) for step in steps] == [BEFORE + FRAME] * 3
    assert not steps[0][:BEFORE].any()
    assert np.array_equal(steps[1][:BEFORE], audio[FRAME - BEFORE : FRAME])
    assert np.array_equal(np.concatenate([step[BEFORE:] for step in steps]), audio[: 3 * FRAME])


def test_words_have_silence_around_them() -> None:
    audio = spaced(np.ones(10, np.float32), 2)
    assert len(audio) == 3 * RATE + 20
    assert audio.sum() == 20


def test_short_pauses_belong_to_a_span_and_long_ones_part_two() -> None:
    assert spans([0, 0.9, 0.1, 0.9, 0, 0, 0, 0.5, 0]) == [(0.032, 0.128), (0.224, 0.256)]
    assert spans([0.1, 0.2]) == []
