"""Workers: `texts` in; `vectors`, `metrics` and `dead-letters` out.

Way in: `service` wires the edges and owns the life of the process, `pipeline` is one cycle from texts to acknowledged
vectors, `batching` and `failures` decide without I/O, `cache` and `backends` do the work, `meter` turns what happened
into events. Offsets are committed only after everything that came of them is acknowledged. `crew` keeps several worker
processes going under one command; `slots` and `restarts` decide for it.
"""
