"""What every stage shares: events and their codec, topics, settings, the Kafka edge, sketch, prices, tokens, the CLI.

It imports no stage. The stages (`producers`, `workers`, `stream_agents`, `alerting`) import it and meet only
through topics.
"""

__version__ = "0.1.0"
