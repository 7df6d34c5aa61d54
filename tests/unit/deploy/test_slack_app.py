"""The manifest of the Slack app gives it what embedwatch asks for, and no more."""

from __future__ import annotations

from pathlib import Path

import yaml

from embedwatch.services.slack_http import SCOPES

MANIFEST = Path(__file__).parents[3] / "deploy" / "slack-app.yaml"


def test_the_manifest_has_the_scopes_that_are_used() -> None:
    manifest = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))
    assert set(manifest["oauth_config"]["scopes"]["bot"]) == set(SCOPES)
    assert manifest["settings"]["socket_mode_enabled"]
    assert manifest["settings"]["interactivity"]["is_enabled"]
