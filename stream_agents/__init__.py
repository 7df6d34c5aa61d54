"""From metric events to numbers and verdicts.

Reads `metrics`; writes `verdicts` (and `dead-letters` for events that do not decode). What computes is in `compute`,
without Faust; `app` wires it to Faust; `web` serves the numbers; `sampler` reads the queue's lag.
"""
