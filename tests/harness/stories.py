"""What happens to one alert, told line by line, for the tests of its life."""

from __future__ import annotations

from typing import Any

from alerting.lifecycle import Heard, Tick, act, step
from alerting.outbox import delivered
from alerting.policy import Policy
from alerting.quiet import Quiet
from alerting.states import AlertState, Owed, Ref
from tests.harness.actions import action
from tests.harness.verdicts import verdict

START = 1000.0


class Alert:
    """One alert and one receiver that takes each message at once, unless it is away. Times are seconds from `START`."""

    def __init__(self, policy: Policy, **fields: Any) -> None:
        self.policy = policy
        self.state: AlertState | None = None
        self.told: list[str] = []
        self.messages: list[Owed] = []
        self.away = False
        self.fields = fields
        self.reason = ""
        self._offset = -1

    def hear(self, judgement: Any, second: float, quiet: Quiet | None = None, **more: Any) -> Alert:
        self._offset += 1
        said = verdict(judgement, START + second, **(self.fields | more))
        outcome = step(self.state, Heard(said, 0, self._offset), START + second, self.policy, (), quiet)
        return self._after(outcome)

    def tick(self, second: float, quiet: Quiet | None = None) -> Alert:
        return self._after(step(self.state, Tick(START), START + second, self.policy, (), quiet))

    def act(self, do: str, second: float, quiet: Quiet | None = None, **more: Any) -> Alert:
        if do == "snooze":
            more = {"until_seconds": START + second + 600.0, **more}
        asked = action(do, START + second, **more)
        return self._after(act(self.state, asked, START + second, self.policy, (), quiet))

    def _after(self, outcome: Any) -> Alert:
        self.state, self.reason = outcome.state, outcome.reason
        while self.state is not None and self.state.owed and not self.away:
            owed = self.state.owed[0]
            self.messages.append(owed)
            self.told.append(owed.kind)
            self.state = delivered(self.state, owed.number, Ref("C1", str(owed.number)))
        return self

    @property
    def status(self) -> str:
        return "inactive" if self.state is None else self.state.status
