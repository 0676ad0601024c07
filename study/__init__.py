"""Experiments on trained networks, for teaching: gates of an LSTM, gradients by lag, memory by cell.

Built on `training`; the commands `carousel-train gates`, `gradients` and `long-lag` run them.
"""
