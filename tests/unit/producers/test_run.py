"""The sending loop with a publisher that the test answers for; time passes only when the loop sleeps."""

from __future__ import annotations

import io
import signal
from collections.abc import Callable, Iterator

import pytest

from embedwatch.errors import DeliveryError, InputError
from embedwatch.settings import Settings
from embedwatch.wire import decode_texts
from producers import run as run_module
from producers.pacing import Pacer
from producers.packing import Labels, Limits, Message, Packer
from producers.readers.txt import read_lines
from producers.run import Plan, Run
from producers.stopping import Stop
from producers.text import Bad, Input, Item, Oversized, ReadOptions, SourceText, Tally


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.seconds += seconds


class Sender:
    """Acknowledges at once, until `dies_after` messages."""

    def __init__(self, clock: Clock, settled: int = 0) -> None:
        self.clock = clock
        self.ids: list[str] = []
        self.times: list[float] = []
        self.sent_texts = self.acknowledged_texts = self.settled_texts = 0
        self.settled = settled
        self.dies_after: int | None = None
        self.meanwhile: Callable[[], None] = lambda: None
        self.hangs = False

    def send(self, message: Message) -> None:
        if self.dies_after is not None and len(self.times) >= self.dies_after:
            raise DeliveryError("topic t: no answer in time", delivered=self.acknowledged_texts)
        self.ids += [item.id for item in decode_texts(message.key, message.value, message.headers, fallback_id="?")]
        self.times.append(self.clock.monotonic())
        self.sent_texts += message.texts
        self.acknowledged_texts += message.texts
        self.settled_texts += message.texts
        self.settled = message.last

    def flush(self) -> None:
        while self.hangs:
            self.clock.sleep(0.1)
            self.meanwhile()

    def collect(self) -> None: ...

    def check(self) -> None:
        if self.dies_after is not None and len(self.times) >= self.dies_after:
            raise DeliveryError("topic t: no answer in time", delivered=self.acknowledged_texts)


class Quiet:
    def update(self, sent_texts: int, acknowledged_texts: int, done_pct: float | None) -> None: ...


def text(n: int, value: str | None = "x", raw: bytes | None = None) -> SourceText:
    return SourceText(str(n), value, raw, "s", n)


def texts(count: int) -> list[Item]:
    return [text(n) for n in range(1, count + 1)]


class Setup:
    def __init__(self, *, rate: float | None = None, chunk: int = 3, wait: float = 0.2, **plan: object) -> None:
        self.clock = Clock()
        self.plan = Plan(Labels(), **plan)  # type: ignore[arg-type]
        self.sender = Sender(self.clock, self.plan.skip)
        self.stop = Stop()
        pacer = None if rate is None else Pacer(rate, 0.0)
        self.run = Run(
            self.plan, Packer(Limits(chunk, 10_000, wait)), pacer, self.sender, self.clock, Tally(),  # type: ignore[arg-type]
            self.stop, Quiet(), self.clock.sleep,
        )  # fmt: skip


def test_all_texts_are_sent_and_counted() -> None:
    it = Setup()
    it.run.send([text(1), text(2, ""), text(3, None, b"\xff"), text(4)])
    counts = it.run.counts
    assert it.sender.ids == ["1", "2", "3", "4"]
    assert (counts.read, counts.taken, counts.empty_texts, counts.invalid_utf8) == (4, 4, 1, 1)


@pytest.mark.parametrize(
    ("skip", "limit", "sent"), [(0, 4, [1, 4]), (3, None, [4, 10]), (3, 2, [4, 5]), (10, None, [])]
)
def test_skip_and_limit_count_texts_from_the_start(skip: int, limit: int | None, sent: list[int]) -> None:
    it = Setup(skip=skip, limit=limit)
    it.run.send(texts(10))
    assert it.sender.ids == ([str(n) for n in range(sent[0], sent[1] + 1)] if sent else [])
    assert it.run.counts.skipped == min(skip, 10)


def test_no_more_is_read_than_the_limit_asks_for() -> None:
    def source() -> Iterator[Item]:
        yield from texts(5)
        raise AssertionError("read on")

    Setup(limit=5).run.send(source())


def test_a_broken_input_stops_after_all_before_it_was_sent() -> None:
    def source() -> Iterator[Item]:
        yield from texts(7)
        raise InputError("x.jsonl, line 8: not JSON")

    it = Setup()
    with pytest.raises(InputError, match=r"^x.jsonl, line 8: not JSON. 7 texts arrived; go on with --skip 7$"):
        it.run.send(source())
    assert len(it.sender.ids) == 7


def test_a_run_that_was_resumed_says_where_to_go_on_from_the_very_start() -> None:
    def source() -> Iterator[Item]:
        yield from texts(7)
        raise InputError("broken")

    with pytest.raises(InputError, match=r"^broken. 2 texts arrived; go on with --skip 7$"):
        Setup(skip=5).run.send(source())
    with pytest.raises(InputError, match=r"^broken. No text arrived; go on with --skip 7$"):
        Setup(skip=7).run.send(source())


def test_nothing_sent_is_said_as_well() -> None:
    def source() -> Iterator[Item]:
        raise InputError("broken")
        yield

    with pytest.raises(InputError, match=r"^broken. No text arrived$"):
        Setup().run.send(source())


def test_a_text_too_large_stops_with_where_size_and_limit() -> None:
    it = Setup()
    with pytest.raises(InputError) as caught:
        it.run.send([text(1), Oversized("a.txt, line 2", 5_000_000, 4_194_304), text(3)])
    assert str(caught.value).startswith("a.txt, line 2: the text has 5,000,000 bytes, at most 4,194,304 can be sent; ")
    assert str(caught.value).endswith("1 text arrived; go on with --skip 1")
    assert it.sender.ids == ["1"]


def test_produce_takes_a_text_at_the_limit_and_stops_at_one_byte_more() -> None:
    most = Settings().worker.max_text_bytes
    spec = Input("file", "a.txt", "a.txt", "a", "a", "txt")

    def items(size: int) -> Iterator[Item]:
        return read_lines(io.BytesIO(b"x" * size + b"\n"), spec, ReadOptions(most), Tally())

    it = Setup()
    it.run.send(items(most))
    assert it.sender.ids == ["a:1"]
    it = Setup()
    with pytest.raises(InputError, match=f"line 1: the text has {most + 1:,} bytes, at most {most:,} can be sent"):
        it.run.send(items(most + 1))
    assert it.sender.ids == []
    it = Setup(on_too_large="skip")
    it.run.send(items(most + 1))
    assert (it.sender.ids, it.run.counts.too_large) == ([], 1)


def test_a_line_too_large_to_be_read_is_told_as_one_and_not_as_a_text() -> None:
    it = Setup()
    with pytest.raises(InputError) as caught:
        it.run.send([text(1), Oversized("a.jsonl, line 2", 73_400_334, 67_108_864, "line"), text(3)])
    said = str(caught.value)
    assert said.startswith("a.jsonl, line 2: the line has 73,400,334 bytes, at most 67,108,864 are read of one")
    assert "raise" not in said, "no option makes room for it"
    assert "--on-too-large skip" in said
    assert said.endswith("1 text arrived; go on with --skip 1")


def test_texts_too_large_may_be_left_out_and_are_listed() -> None:
    it = Setup(on_too_large="skip")
    big = [Oversized(f"a.txt, line {n}", 5_000_000, 4_194_304) for n in range(2, 40)]
    it.run.send([text(1), *big, text(40)])
    assert it.sender.ids == ["1", "40"]
    assert it.run.counts.too_large == 38
    assert it.run.counts.too_large_listed[0] == "a.txt, line 2 (5,000,000 bytes)"
    assert len(it.run.counts.too_large_listed) == 20
    assert it.sender.settled == 40


def test_bad_records_are_left_out_listed_and_count_as_places_in_the_input() -> None:
    it = Setup()
    bad = [Bad(f"a.jsonl, line {n}", "field 'text' is not text but null") for n in range(2, 40)]
    it.run.send([text(1), *bad, text(40)])
    assert it.sender.ids == ["1", "40"]
    assert (it.run.counts.bad, len(it.run.counts.bad_listed)) == (38, 20)
    assert it.run.counts.bad_listed[0] == "a.jsonl, line 2: field 'text' is not text but null"
    assert it.sender.settled == 40


def test_a_broker_that_goes_away_stops_with_what_arrived() -> None:
    it = Setup(skip=10)
    it.sender.dies_after = 2
    with pytest.raises(DeliveryError) as caught:
        it.run.send(texts(100))
    assert str(caught.value) == "topic t: no answer in time. 6 texts arrived; go on with --skip 16"
    assert caught.value.delivered == 6


def test_two_troubles_are_both_told() -> None:
    def source() -> Iterator[Item]:
        yield from texts(7)
        raise InputError("line 8: broken")

    it = Setup()
    it.sender.dies_after = 2
    with pytest.raises(
        DeliveryError, match=r"^line 8: broken. Then topic t: .*. 6 texts arrived; go on with --skip 6$"
    ):
        it.run.send(source())


def test_what_arrived_out_of_order_will_be_sent_again_and_that_is_said() -> None:
    it = Setup()
    it.run.send(texts(6))
    it.sender.settled, it.sender.settled_texts = 3, 3
    assert it.run.how_to_go_on() == (
        "6 texts arrived; go on with --skip 3; 3 of them arrived out of order and will be sent again, with the same ids"
    )


def test_a_quiet_source_does_not_hold_back_what_is_packed() -> None:
    it = Setup(chunk=100)

    def source() -> Iterator[Item | None]:
        yield text(1)
        it.clock.sleep(0.15)
        yield None
        assert it.sender.ids == []
        it.clock.sleep(0.06)
        yield None
        assert it.sender.ids == ["1"]
        yield text(2)

    it.run.send(source())
    assert it.sender.ids == ["1", "2"]


@pytest.mark.parametrize("rate", [None, 0.1])
def test_a_broker_that_goes_away_is_noticed_while_nothing_is_sent(rate: float | None) -> None:
    it = Setup(chunk=1, rate=rate)
    it.sender.dies_after = 1

    def quiet() -> Iterator[Item | None]:
        yield text(1)
        while rate is None:
            yield None
        yield text(2)
        raise AssertionError("sent on")

    with pytest.raises(DeliveryError, match="1 text arrived"):
        it.run.send(quiet())
    assert it.clock.seconds < 1


def test_a_rate_is_kept_and_partial_chunks_are_sent_in_time() -> None:
    it = Setup(rate=10, chunk=100, wait=0.2)
    it.run.send(texts(50))
    assert it.clock.seconds == pytest.approx(4.9, abs=0.01)
    assert len(it.sender.ids) == 50
    gaps = [two - one for one, two in zip([0.0, *it.sender.times], it.sender.times, strict=False)]
    assert max(gaps) <= 0.31


def test_a_signal_ends_the_run_after_what_was_taken() -> None:
    it = Setup()
    it.stop.polite = True

    def source() -> Iterator[Item]:
        yield from texts(4)
        it.stop(signal.SIGTERM, None)
        yield text(5)
        raise AssertionError("read on")

    it.run.send(source())
    assert it.sender.ids == ["1", "2", "3", "4"]
    assert it.stop.exit_code == 143


def test_a_signal_during_a_pause_of_the_pacing_is_heard() -> None:
    it = Setup(rate=0.01)
    it.stop.polite = True
    sleep = it.clock.sleep

    def interrupted(seconds: float) -> None:
        assert seconds <= 0.1
        sleep(seconds)
        if it.clock.seconds > 1:
            it.stop(signal.SIGINT, None)

    it.run._sleep = interrupted
    it.run.send(texts(3))
    assert it.sender.ids == ["1"]
    assert it.run.counts.read == 1
    assert it.clock.seconds < 1.3
    assert it.stop.exit_code == 130


def test_a_broker_that_hangs_does_not_hold_up_a_signal_for_long() -> None:
    it = Setup()
    it.sender.hangs = True
    it.stop.polite = True
    it.stop(signal.SIGTERM, None)
    it.run.send(texts(3))
    assert it.clock.seconds < run_module.STOP_FLUSH_SECONDS + 1


def test_a_second_signal_and_one_before_the_loop_interrupt_at_once() -> None:
    stop = Stop()
    with pytest.raises(KeyboardInterrupt):
        stop(signal.SIGTERM, None)
    polite = Stop()
    polite.polite = True
    polite(signal.SIGINT, None)
    with pytest.raises(KeyboardInterrupt):
        polite(signal.SIGINT, None)
