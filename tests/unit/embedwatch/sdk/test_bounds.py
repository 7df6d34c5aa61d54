"""What the SDK holds no more of: calls that wait, and the length of a label."""

from __future__ import annotations

from embedwatch import Monitor
from embedwatch.sdk import Bounds, Call
from embedwatch.sdk.bounds import MAX_LABEL_CHARS
from embedwatch.sdk.channel import MAX_QUEUED_CALLS
from tests.harness.sdk import BlockedSink


def test_as_many_calls_as_may_be_wait_and_one_more_is_dropped_and_counted() -> None:
    sink = BlockedSink()
    with Monitor("m", [sink]) as monitor:
        try:
            with monitor.call(1):
                pass
            assert sink.held.wait(30)
            for _ in range(MAX_QUEUED_CALLS):
                with monitor.call(1):
                    pass
            assert monitor.dropped_calls == 0
            with monitor.call(1):
                pass
            assert monitor.dropped_calls == 1
        finally:
            sink.go.set()
        assert monitor.flush(60)
        assert len(sink.calls) == 1 + MAX_QUEUED_CALLS


def test_a_label_of_the_largest_size_is_kept_and_of_a_longer_one_the_rest_is_cut() -> None:
    longest = "l" * (MAX_LABEL_CHARS - 1) + "!"
    for name in (longest, longest + "x"):
        call = Call(
            0.0, 1.0, name, 1, 1, provider=name, tenant=name, response_model=name, server_address=name, server_port=1
        )
        bounds = Bounds()
        labels = bounds.of(call)
        assert labels == (longest, longest, longest)
        assert bounds.of_answer(call, labels) == (longest, longest, 1)
        assert bounds.phase(name) == longest
