"""`llmseg doctor`: what a person reads, what a script reads, and when it fails."""

import json

import pytest
from typer.testing import CliRunner

from llmseg_cli.cli import app
from llmseg_cli.workflows import doctor as workflow
from llmseg_cli.workflows.doctor import Diagnosis, Finding


def test_a_healthy_machine(quiet_place):
    result = CliRunner().invoke(app, ["doctor"])
    assert (result.exit_code, result.stdout) == (0, "")
    assert "torch" in result.stderr


@pytest.fixture
def sick(quiet_place, monkeypatch):
    findings = (Finding("python", "3.11"), Finding("torch", "2.9.0", "bad", "Install another."))
    monkeypatch.setattr(workflow, "run", lambda **_: Diagnosis(findings))


def test_a_known_bad_version_exits_with_8(sick):
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 8
    assert "BAD: 2.9.0. Install another." in result.stderr
    assert result.stdout == ""


def test_json_is_whole_in_both_cases(sick):
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 8
    document = json.loads(result.stdout)
    assert document["healthy"] is False
    assert document["findings"][1]["remedy"] == "Install another."


def test_a_long_name_stands_apart_from_what_is_said_of_it(quiet_place, monkeypatch):
    findings = (Finding("python", "3.11"), Finding("weights of a long name indeed", "verified"))
    monkeypatch.setattr(workflow, "run", lambda **_: Diagnosis(findings))
    lines = CliRunner().invoke(app, ["doctor"]).stderr.splitlines()
    assert lines[1].split("  ") == ["weights of a long name indeed", "verified"]
    assert lines[0].index("3.11") == lines[1].index("verified")
