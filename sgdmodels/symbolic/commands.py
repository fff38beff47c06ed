"""What `sgdmodels derive` prints, line by line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ..errors import InvalidArgument, SgdmodelsError
from .closed_form import Check, ClosedForm
from .derive import contents
from .derive import derive as derived
from .loss_formula import loss_formula
from .page import PdfLatexFailed, book, write
from .worksheet import declared, worksheet


class CommandError(SgdmodelsError):
    """A request that cannot be met, in one sentence for the terminal."""


class CheckFailed(CommandError):
    """A closed form that disagrees with its independent route."""


def list_names() -> Iterator[str]:
    """Chapters, topics and forms, none of them derived."""
    for chapter, topics in contents().items():
        yield chapter
        for topic, forms in topics.items():
            yield f"  {topic}: {', '.join(forms)}"


def show_forms(names: Iterable[str], latex: bool, check: bool) -> Iterator[str]:
    """Each form as text or LaTeX; with `check`, how it compares with its independent route."""
    forms = _forms(names)
    checks = _checked(forms) if check else {}
    for form in forms:
        if latex and len(forms) > 1:
            yield f"% {form.name}: {form.title}"
        yield form.latex() if latex else str(form)
        if check:
            yield ("% " if latex else "  ") + f"Check: {checks[form.name]}."
    _demand(checks)


def write_document(names: Iterable[str], output: Path, check: bool) -> Iterator[str]:
    """A document of the named forms."""
    if output.suffix not in (".md", ".tex", ".pdf") or not output.resolve().parent.is_dir():
        raise CommandError(f"--output must be in an existing folder and end in .md, .tex or .pdf, got {output}")
    forms = _forms(names)
    checks = _checked(forms) if check else {}
    yield from (f"{name}: {result}" for name, result in checks.items())
    _demand(checks)
    try:
        write(output, book(form.name for form in forms))
    except (OSError, PdfLatexFailed) as problem:
        raise CommandError(str(problem)) from None
    yield f"{len(forms)} closed forms written to {output}"


def own_formula(
    loss: str | None, predictor: str | None, parameters: str, data: str, constants: str, latex: bool
) -> Iterator[str]:
    """Gradient and Hessian of a loss given as text."""
    sizes: dict[str, int] = {}
    try:
        shapes = [declared(text, sizes) for text in (parameters, data, constants)]
        if not shapes[0]:
            raise CommandError("say which names are parameters, for instance --parameters 'u[d] v[d]'")
        if any(shapes[2].values()):
            raise CommandError(f"constants are numbers, got {constants!r}")
        formula = loss_formula(loss or "(p - y)**2/2", shapes[0], shapes[1], predictor, shapes[2])
    except InvalidArgument as problem:
        raise CommandError(_with_letters(str(problem), sizes)) from None
    yield from worksheet(formula, latex)


def _checked(forms: Iterable[ClosedForm]) -> dict[str, Check]:
    return {form.name: form.check() for form in forms}


def _demand(checks: Mapping[str, Check]) -> None:
    failed = [name for name, check in checks.items() if not check.passed]
    if failed:
        raise CheckFailed(f"{', '.join(failed)} disagree with their independent routes")


def _forms(names: Iterable[str]) -> list[ClosedForm]:
    chosen: dict[str, ClosedForm] = {}
    for name in names:
        wanted = [f for topics in contents().values() for f in topics] if name == "all" else [name]
        try:
            chosen |= {form.name: form for topic in wanted for form in derived(topic)}
        except InvalidArgument as problem:
            hint = str(problem).rpartition("; did you mean ")
            guess = f"; did you mean {hint[2]}" if hint[1] else ""
            raise CommandError(
                f"there is no closed form, topic or loss named {name!r}{guess} (`sgdmodels derive` lists them)"
            ) from None
    return list(chosen.values())


def _with_letters(message: str, sizes: dict[str, int]) -> str:
    """A message in the lengths' letters instead of the numbers that stand for them."""
    for letter, size in sizes.items():
        message = message.replace(str(size), letter)
    return message
