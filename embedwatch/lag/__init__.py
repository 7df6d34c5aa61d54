"""How far a consumer group is behind.

`tracker` computes, `records` reads the bytes of a fetch answer, `partition` keeps what was seen, `reader` asks the
broker, `words` says it to people.
"""
