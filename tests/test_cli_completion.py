"""Shell completion: the scripts of three shells, and what they get when they ask."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .command_line import run, written

ASKED = {  # how each shell asks what `sgdmodels WORDS` may go on with
    "bash": lambda words: {"COMP_WORDS": f"sgdmodels {words}", "COMP_CWORD": str(len(words.split(" ")))},
    "zsh": lambda words: {"_TYPER_COMPLETE_ARGS": f"sgdmodels {words}"},
    "fish": lambda words: {"_TYPER_COMPLETE_ARGS": f"sgdmodels {words}", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
}


@pytest.mark.parametrize("shell", ASKED)
def test_the_script_of_a_shell(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    answer = run("--show-completion", shell)
    assert answer.code == 0
    assert f"complete_{shell}" in answer.out
    assert "_SGDMODELS_COMPLETE" in answer.out


@pytest.mark.parametrize("shell", ASKED)
@pytest.mark.parametrize(
    ("words", "offered", "not_offered"),
    [
        ("s", ["simulate", "scorecard", "sweep"], ["demo", "report"]),
        ("sweep grid.toml --st", ["--status"], ["--repair"]),
        ("sweep g", ["grid.toml", "grids/more.toml"], ["grid.txt", "other.toml"]),
        ("simulate o", ["other.toml"], ["grid.toml"]),
    ],
)
def test_what_is_offered(
    shell: str, words: str, offered: list[str], not_offered: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("grids").mkdir()
    for name in ("grid.toml", "grid.txt", "other.toml", "grids/more.toml"):
        written(Path(name), "")
    for name, value in {**ASKED[shell](words), "_SGDMODELS_COMPLETE": f"complete_{shell}"}.items():
        monkeypatch.setenv(name, value)
    answer = run()
    assert answer.code == 0
    assert all(word in answer.out for word in offered)
    assert not any(word in answer.out for word in not_offered)


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes(tmp_path: Path) -> None:
    """The script as bash runs it, on the program as it is installed."""
    program = written(
        tmp_path / "sgdmodels", f"#!{sys.executable}\nimport sys\nfrom sgdmodels.cli import app\nsys.exit(app())\n"
    )
    program.chmod(0o755)
    written(tmp_path / "grid.toml", "")
    script = (
        'PATH="$PWD:$PATH"; source <(_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION=1 sgdmodels --show-completion bash)\n'
        'COMP_WORDS=(sgdmodels sweep g); COMP_CWORD=2; _sgdmodels_completion sgdmodels; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "grid.toml\n"
