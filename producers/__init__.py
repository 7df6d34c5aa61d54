"""Sends texts to Kafka: `embedwatch produce`.

Topics in: none. Topics out: `<prefix>.texts` (single texts and chunks, see `embedwatch.wire`).
Reading (`sources`, `readers`) yields items; `packing` and `pacing` are pure; `publish` is the only Kafka edge.
"""
