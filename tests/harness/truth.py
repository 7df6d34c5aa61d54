"""A million texts whose totals are known beforehand, by day and scope: what the ledger must say, to the nano-USD.

Nothing of the ledger's own code adds up or finds a day here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from embedwatch.events import ERROR_CLASSES, BatchEvent
from embedwatch.sketch import Sketch
from stream_agents.compute.scopes import scope_key
from tests.harness.agents_log import batch_event

TEXTS, TEXTS_IN_BATCH = 1_000_000, 256
#: What a ledger row and the truth are compared by.
FIELDS = (
    "texts", "cache_hits", "duplicates", "misses", "errors", "tokens_received", "tokens_embedded", "tokens_saved",
    "cost_nano_usd", "saved_nano_usd", "unpriced_tokens",
)  # fmt: skip
ZONES = ("UTC", "Asia/Kolkata", "America/New_York", "Pacific/Apia", "Europe/Berlin")
MODELS = ("all-MiniLM-L6-v2", "text-embedding-3-small", "a=b, c")
TENANTS = (None, "acme", "globex", "Müller & Söhne", "tenant=x,model=y", "100 %")
AROUND_SECONDS = 600.0

#: Sums by day and scope key, then by field.
Totals = dict[tuple[str, str], dict[str, int]]


class Truth:
    """`events` in the order to publish them: their times go to and fro over minutes, and across midnight.

    `now` in Unix seconds. Half of the events lie within ten minutes of today's midnight in `zone`, half within the
    last ten minutes. Days are told by that midnight alone.
    """

    def __init__(self, random: Random, zone: str, now: float, texts: int = TEXTS) -> None:
        self.zone, self.now = zone, now
        today = datetime.fromtimestamp(now, ZoneInfo(zone)).replace(hour=0, minute=0, second=0, microsecond=0)
        self._midnight = today.timestamp()
        self._days = ((today - timedelta(days=1)).date().isoformat(), today.date().isoformat())
        self._sketches = [Sketch.of([random.uniform(5, 900) for _ in range(50)]).to_text() for _ in range(5)]
        self.totals: Totals = {}
        self.events: list[BatchEvent] = []
        while texts > 0:
            around_midnight = self._midnight + random.uniform(-AROUND_SECONDS, AROUND_SECONDS)
            recently = now - random.uniform(0, AROUND_SECONDS)
            moment = random.choice((around_midnight, recently, self._midnight, self._midnight - 1e-3))
            self.add(self._batch(random, min(texts, TEXTS_IN_BATCH), moment))
            texts -= TEXTS_IN_BATCH

    def add(self, event: BatchEvent) -> BatchEvent:
        """To the events, and to the totals of its day and scopes."""
        day = self._days[event.time_seconds >= self._midnight]
        model, tenant = ("model", event.model), ("tenant", event.tenant or "")
        scopes: list[tuple[tuple[str, str], ...]] = [(), (model,)]
        if event.tenant is not None:
            scopes += [(tenant,), (model, tenant)]
        for scope in scopes:
            totals = self.totals.setdefault((day, scope_key(scope)), dict.fromkeys(FIELDS, 0))
            for field in FIELDS:
                totals[field] += sum(event.errors.values()) if field == "errors" else getattr(event, field)
        self.events.append(event)
        return event

    def write(self, path: Path) -> None:
        """The truth file."""
        rows = [{"day": day, "scope": scope, **fields} for (day, scope), fields in sorted(self.totals.items())]
        path.write_text(json.dumps(rows, indent=1))

    def _batch(self, random: Random, texts: int, time_seconds: float) -> BatchEvent:
        failed = random.choice((0, 0, 0, random.randint(1, 3)))
        hits = random.randint(0, texts - failed)
        duplicates = random.randint(0, (texts - failed - hits) // 4)
        tokens, priced = random.randint(texts, 100 * texts), random.random() < 0.9
        return batch_event(
            len(self.events),
            time_seconds=time_seconds, texts=texts, cache_hits=hits, duplicates=duplicates,
            misses=texts - failed - hits - duplicates, model=random.choice(MODELS), tenant=random.choice(TENANTS),
            errors={} if not failed else {random.choice(ERROR_CLASSES): failed},
            tokens_received=tokens, tokens_embedded=tokens // 3, tokens_saved=tokens - tokens // 3,
            # Odd amounts of every size: sums that agree by chance are unlikely, and floats would round them.
            cost_nano_usd=random.randrange(1, 10 ** random.randint(1, 15)) if priced else 0,
            saved_nano_usd=random.randrange(10**12), unpriced_tokens=0 if priced else tokens // 3,
            latency_sketch=random.choice(self._sketches),
        )  # fmt: skip


def read_truth(path: Path) -> Totals:
    return totals_of(json.loads(path.read_text()))


def totals_of(*answers: Iterable[Mapping[str, Any]]) -> Totals:
    """Rows with a day and a scope, of one process or of several that hold a part each, added up."""
    totals: Totals = {}
    for row in (row for rows in answers for row in rows):
        found = totals.setdefault((row["day"], row["scope"]), dict.fromkeys(FIELDS, 0))
        for field in FIELDS:
            found[field] += row[field] or 0  # null: nothing has a price
    return totals


def differences(truth: Totals, found: Totals) -> list[str]:
    """Every number that is not what it must be."""
    nothing = dict.fromkeys(FIELDS, 0)
    return [
        f"{day} {scope} {field}: {had - wanted:+} of {wanted}"
        for day, scope in sorted({*truth, *found})
        for field in FIELDS
        if (wanted := truth.get((day, scope), nothing)[field]) != (had := found.get((day, scope), nothing)[field])
    ]
