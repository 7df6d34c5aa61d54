"""Alerting: `verdicts` in; `alerts` (its states) out, and messages to Slack.

The agents judge numbers; here it is decided what that means over time (pending, firing, resolved), what is said, and
that it arrives. `lifecycle`, `outbox`, `message` and `slack_blocks` are pure; `service` puts them to work.
"""
