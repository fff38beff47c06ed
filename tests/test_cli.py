"""The command line as a user meets it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import sgdmodels
from sgdmodels.cli import app
from sgdmodels.symbolic.closed_form import Check

from .command_line import run

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


def test_nearest_names_are_suggested() -> None:
    result = runner.invoke(app, ["dmo"])
    assert (result.exit_code, "demo" in result.output) == (2, True)
    result = runner.invoke(app, ["demo", "--sedes", "3"])
    assert (result.exit_code, "--seeds" in result.output) == (2, True)


def test_demo_for_programs(tmp_path: Path) -> None:
    """Without seeds that agree on it there is no deviation; the full batch is the last row."""
    figure = tmp_path / "edge.pdf"
    document = tmp_path / "demo.toml"
    document.write_text('seeds = 3\nsteps = 1000\nbatch_sizes = [4, 100]\noutput = "edge.pdf"\n')
    answer = run("demo", document, "--seeds", "1", "--json")
    assert answer.code == 0
    first, last = answer.data["plateaus"]
    assert (first["batch_size"], first["full_batch"], first["seeds"]) == (4, False, 1)  # options win
    assert (last["batch_size"], last["full_batch"], last["lambda_max_sd"]) == (100, True, None)
    np.testing.assert_allclose(last["predicted_lambda_max"], 1.0)  # of the full batch: eta lambda_max = 2
    assert answer.data["figure"] == str(figure)
    assert figure.read_bytes().startswith(b"%PDF")


def test_python_dash_m_works() -> None:
    done = subprocess.run([sys.executable, "-m", "sgdmodels", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == sgdmodels.__version__


def derive(*arguments: str) -> tuple[int, str]:
    result = runner.invoke(app, ["derive", *arguments])
    return result.exit_code, result.output


def test_derive_lists_prints_and_checks() -> None:
    code, listed = derive()
    assert code == 0
    assert "heavy_ball: heavy_ball_determinant, heavy_ball_edge" in listed
    code, shown = derive("heavy_ball_edge", "--check")
    assert code == 0
    assert "eta_max = 1/(a/(2*beta + 2) + s**2/(2*a*(1 - beta)))" in shown
    assert "Check: agrees to" in shown
    code, equations = derive("heavy_ball", "--latex")
    assert code == 0
    assert equations.count("% ") == 5
    assert r"\eta_{\max} = \frac{1}{" in equations


def test_derive_for_programs(tmp_path: Path) -> None:
    topics = run("derive", "--json").data["topics"]
    assert "heavy_ball_edge" in topics["heavy_ball"]
    (form,) = run("derive", "heavy_ball_edge", "--check", "--json").data["forms"]
    assert form["text"].startswith(form["title"])
    assert form["latex"].startswith(r"\eta_{\max} = ")
    assert form["check"]["passed"] is True
    assert 0 <= form["check"]["error"] < 1e-10
    document = tmp_path / "own.toml"
    document.write_text('predictor = "a*x"\nparameters = "a"\ndata = "x y"\n')
    lines = run("derive", document, "--json").data["lines"]
    assert "dl_i/da = (p[i] - y[i])*x[i]" in lines
    assert run("derive", document, "--parameters", "b").code == 2  # a is then unknown: the option won
    assert run("derive", "heavy_bal", "--json").code == 2


def test_a_check_that_fails_is_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Check, "passed", False)
    for more in ([], ["--json"]):
        answer = run("derive", "heavy_ball_edge", "--check", *more)
        assert answer.code == 1
        assert answer.err == "heavy_ball_edge disagree with their independent routes\n"
    assert answer.data["forms"][0]["check"]["passed"] is False


def test_derive_takes_a_formula_and_runs_none_of_it(tmp_path: Path) -> None:
    code, shown = derive("--predictor", "sum(u[j]*abs(v[j])*x[j], j)", "--parameters", "u[d] v[d]")
    assert code == 0
    assert "dl_i/du[k] = (p[i] - y[i])*abs(v[k])*x[i, k]" in shown
    assert "note: no gradient where v[j] = 0 (in abs(v[j]))" in shown
    trap = tmp_path / "trap"
    code, shown = derive("--loss", f"__import__('pathlib').Path({str(trap)!r}).touch()", "--parameters", "u")
    assert code == 2
    assert "cannot read" in shown
    assert not trap.exists()


WRONG = [
    (["heavy_bal"], "did you mean 'heavy_ball'?"),
    (["heavy_ball", "-o", "forms.docx"], ".md, .tex or .pdf"),
    (["heavy_ball", "-o", "missing/forms.md"], "existing folder"),
    (["--predictor", "sum(u[j]*x[j], j)"], "--parameters 'u[d] v[d]'"),
    (["--predictor", "sum(u[j]*x[k], j)", "--parameters", "u[d]"], "k in x[k] is not summed over"),
    (["--predictor", "sum(u[j]*x[j], j)", "--parameters", "u[K]"], "j runs over K values, but axis 0 of x has d"),
    (["--loss", "u", "--parameters", "u("], "cannot read 'u('"),
    (["heavy_ball", "--loss", "u"], "drop NAME"),
]


@pytest.mark.parametrize(("arguments", "reason"), WRONG)
def test_derive_says_what_is_wrong(arguments: list[str], reason: str) -> None:
    code, shown = derive(*arguments)
    assert code == 2
    assert reason in shown


def test_derive_writes_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for pdflatex: what it gets and what it leaves, not its typesetting, is tested."""
    assert derive("heavy_ball", "nesterov", "-o", str(tmp_path / "forms.md"))[0] == 0
    assert (tmp_path / "forms.md").read_text().count("\n$$\n") >= 20
    assert derive("heavy_ball", "-o", str(tmp_path / "forms.tex"))[0] == 0
    source = (tmp_path / "forms.tex").read_text()
    assert source.count(r"\begin{equation*}") == source.count(r"\end{equation*}") > 5  # with those of the model
    assert source.count("{") == source.count("}")
    monkeypatch.setenv("PATH", str(tmp_path))
    code, shown = derive("heavy_ball", "-o", str(tmp_path / "forms.pdf"))
    assert (code, "pdflatex is not installed" in shown) == (2, True)
    program = tmp_path / "pdflatex"
    program.write_text(
        f"#!{sys.executable}\nopen('closed_forms.pdf', 'w').write(open('closed_forms.tex').read()[:14])\n"
    )
    program.chmod(0o755)
    assert derive("heavy_ball", "-o", str(tmp_path / "forms.pdf"))[0] == 0
    assert (tmp_path / "forms.pdf").read_text() == r"\documentclass"
    program.write_text(f"#!{sys.executable}\nprint('! Emergency stop')\nraise SystemExit(1)\n")
    code, shown = derive("heavy_ball", "-o", str(tmp_path / "other.pdf"))
    assert (code, "Emergency stop" in shown) == (2, True)
    assert not (tmp_path / "other.pdf").exists()
