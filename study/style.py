"""Colours and names in the figures of the studies."""

from typing import Any

INK = "#22303c"
STYLE: dict[Any, Any] = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK)
STYLE |= {"date.autoformatter.day": "%a %d %b", "date.autoformatter.hour": "%d %b %H:%M"}
STYLE |= {"axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left"}
STYLE |= {"figure.constrained_layout.use": True}
COLOURS = {"feedforward": "#808c96", "rnn": "#d55e00", "gru": "#2f86c1", "lstm": "#009e73"}  # colour-blind safe
NAMES = {"feedforward": "feedforward", "rnn": "Elman", "gru": "GRU", "lstm": "LSTM"}
