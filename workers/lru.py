"""A least-recently-used map bounded in bytes. No I/O, no lock: one thread at a time uses it."""

from __future__ import annotations

from collections import OrderedDict

#: What Python keeps for one key and value beside their bytes: two bytes objects and an OrderedDict node.
OVERHEAD_BYTES = 240


class ByteLRU:
    """`max_bytes=0` holds nothing. Sizes include Python's own overhead, so that the bound is about real memory."""

    __slots__ = ("_items", "bytes", "max_bytes")

    def __init__(self, max_bytes: int) -> None:
        self._items: OrderedDict[bytes, bytes] = OrderedDict()
        self.max_bytes = max_bytes
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: bytes) -> bytes | None:
        value = self._items.get(key)
        if value is not None:
            self._items.move_to_end(key)
        return value

    def put(self, key: bytes, value: bytes) -> None:
        self.drop(key)
        size = _size(key, value)
        if size > self.max_bytes:
            return
        while self.bytes + size > self.max_bytes:
            old_key, old_value = self._items.popitem(last=False)
            self.bytes -= _size(old_key, old_value)
        self._items[key] = value
        self.bytes += size

    def clear(self) -> None:
        self._items.clear()
        self.bytes = 0

    def drop(self, key: bytes) -> None:
        value = self._items.pop(key, None)
        if value is not None:
            self.bytes -= _size(key, value)


def _size(key: bytes, value: bytes) -> int:
    return len(key) + len(value) + OVERHEAD_BYTES
