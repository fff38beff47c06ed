"""The command line as a user meets it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import sgdmodels
from sgdmodels.cli import app

runner = CliRunner()


def test_demo_prints_a_table_and_saves_the_figure(tmp_path: Path) -> None:
    figure = tmp_path / "edge.png"
    result = runner.invoke(app, ["demo", "--steps", "2000", "--seeds", "2", "-o", str(figure)])
    assert result.exit_code == 0, result.output
    assert "eta BS/2" in result.output
    assert "100 (n)" in result.output
    assert "0 of 2" in result.output
    assert figure.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["figure.gif", "missing/figure.png"])
def test_a_figure_that_cannot_be_saved_is_refused_before_the_work(tmp_path: Path, name: str) -> None:
    result = runner.invoke(app, ["demo", "-o", str(tmp_path / name)])
    assert result.exit_code == 2
    assert "--output" in result.output


def test_version_and_help() -> None:
    assert runner.invoke(app, ["--version"]).output.strip() == sgdmodels.__version__
    assert "demo" in runner.invoke(app, ["--help"]).output


def test_python_dash_m_works() -> None:
    done = subprocess.run([sys.executable, "-m", "sgdmodels", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == sgdmodels.__version__
