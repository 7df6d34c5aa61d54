"""The SDK: wrap an embedding client in one line, and see what it costs and how slow it is. Needs no Kafka."""
