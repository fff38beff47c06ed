"""`sgdmodels derive`: closed forms by computer algebra."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import InvalidArgument
from .options import complete_documents, example_option, is_document, json_option
from .outputs import print_json

FLAGS = ("latex", "check")
TEXTS = ("loss", "predictor", "parameters", "data", "constants")
KEYS = ("names", "output", *FLAGS, *TEXTS)
DATA = "x[d] y"


def derive(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME|DERIVE.toml",
            autocompletion=complete_documents,
            show_default=False,
            help="Forms, topics or losses; 'all'; or a document that says what options say. None: list the names.",
        ),
    ] = None,
    latex: Annotated[bool, typer.Option("--latex", help="Print LaTeX instead of plain text.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Compare each form with its independent route; exit code 1 if one differs.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", show_default=False, help="Write a document: .md, .tex, or .pdf (needs pdflatex)."
        ),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(show_default="(p - y)**2/2", help="A loss of your own, in p and y or in any names."),
    ] = None,
    predictor: Annotated[
        str | None, typer.Option(show_default=False, help="What p is, such as 'sum(u[j]*v[j]*x[j], j)'.")
    ] = None,
    parameters: Annotated[
        str | None, typer.Option(show_default=False, help="Parameters of --loss and their shapes: 'u[d] w[K,d] a'.")
    ] = None,
    data: Annotated[str | None, typer.Option(show_default=DATA, help="Data of one sample, likewise.")] = None,
    constants: Annotated[str | None, typer.Option(show_default=False, help="Names of constants, likewise.")] = None,
    as_json: Annotated[bool, json_option()] = False,
    example: Annotated[bool, example_option("derive.toml")] = False,
) -> None:
    """Derive closed forms by computer algebra: of the theory, of the built-in losses, or of a loss of your own.

    Every form is proven anew. Formulas given here are read by a grammar of their own, never run as code.

    \b
    Examples:
      sgdmodels derive
      sgdmodels derive heavy_ball --check
      sgdmodels derive all -o forms.pdf
      sgdmodels derive --predictor "sum(u[j]*v[j]*x[j], j)" --parameters "u[d] v[d]"
    """
    documents = [Path(name) for name in names or [] if is_document(name)]
    if len(documents) > 1:
        raise InvalidArgument(f"derive takes one document, got {', '.join(map(str, documents))}")
    options = {
        "names": [name for name in names or [] if not is_document(name)] or None, "output": output,
        "latex": latex or None, "check": check or None, "loss": loss, "predictor": predictor,
        "parameters": parameters, "data": data, "constants": constants,
    }  # fmt: skip
    asked = _checked(documents[0] if documents else None, options)
    from ..symbolic.commands import CheckFailed, CommandError  # dear: only once all is well

    try:
        if as_json:
            _print_json(asked)
            return
        for line in _lines(asked):
            typer.echo(line)
    except CheckFailed:
        raise
    except CommandError as problem:
        raise InvalidArgument(str(problem)) from None


def _checked(document: Path | None, options: dict[str, Any]) -> dict[str, Any]:
    """Everything that may be asked for, from the command line and a document."""
    from ..specs.subjects import boolean, words
    from .request import request

    asked = request(document, options, only=KEYS)
    found: dict[str, Any] = {name: asked.checked((name,), boolean, False) for name in FLAGS}
    found |= {name: asked.checked((name,), words) for name in TEXTS}
    found["names"] = asked.checked(("names",), _names, [])
    found["output"] = asked.place("output")
    if found["predictor"] is None and found["loss"] is None:
        alone = [name for name in ("parameters", "data", "constants") if found[name] is not None]
        if alone:
            raise asked.error("belongs to a loss of your own: say --loss or --predictor too", (alone[0],))
    elif found["names"] or found["output"] or found["check"]:
        raise InvalidArgument("--loss and --predictor derive a loss of your own; drop NAME, --output and --check")
    return found


def _names(name: str, value: Any) -> list[str]:
    """One name or several."""
    given = value if isinstance(value, list) else [value]
    if not given or not all(isinstance(one, str) for one in given):
        raise InvalidArgument(f'{name} must be names such as ["heavy_ball"] or "all", got {value!r:.200}')
    return given


def _lines(asked: dict[str, Any]) -> Iterator[str]:
    """What is printed."""
    from ..symbolic.commands import list_names, own_formula, show_forms, write_document

    if asked["predictor"] is not None or asked["loss"] is not None:
        texts = (asked["parameters"] or "", asked["data"] or DATA, asked["constants"] or "")
        return own_formula(asked["loss"], asked["predictor"], *texts, asked["latex"])
    if asked["output"] is not None:
        return write_document(asked["names"] or ["all"], asked["output"], asked["check"])
    return show_forms(asked["names"], asked["latex"], asked["check"]) if asked["names"] else list_names()


def _print_json(asked: dict[str, Any]) -> None:
    """The same for programs."""
    from ..symbolic.commands import CheckFailed, show_forms
    from ..symbolic.derive import contents
    from ..symbolic.derive import derive as derived

    if asked["predictor"] is not None or asked["loss"] is not None or asked["output"] is not None:
        print_json({"command": "derive", "lines": list(_lines(asked))})
        return
    topics = {name: list(forms) for part in contents().values() for name, forms in part.items()}
    if not asked["names"]:
        print_json({"command": "derive", "topics": topics})
        return
    next(iter(show_forms(asked["names"], latex=False, check=False)))  # which says what name is unknown
    wanted = [topic for name in asked["names"] for topic in (topics if name == "all" else [name])]
    forms = {form.name: form for topic in wanted for form in derived(topic)}
    checks = {name: form.check() for name, form in forms.items()} if asked["check"] else {}
    rows = []
    for name, form in forms.items():
        found = checks.get(name)
        verdict = None if found is None else {"passed": found.passed, "error": found.error, "route": found.route}
        rows.append({"name": name, "title": form.title, "text": str(form), "latex": form.latex(), "check": verdict})
    print_json({"command": "derive", "forms": rows})
    failed = [name for name, found in checks.items() if not found.passed]
    if failed:
        raise CheckFailed(f"{', '.join(failed)} disagree with their independent routes")
