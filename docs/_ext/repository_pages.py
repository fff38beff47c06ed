"""Files of the repository as pages of the site: their text is included, and their links lead to the site's own pages.

A page that holds only an `include` of a Markdown file elsewhere becomes that file. Markdown links to a file that
is a page of the site, written to be followed in the repository, are turned to that page.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from sphinx.application import Sphinx

INCLUDE = re.compile(r"^```\{include\} (\S+)\n```$", re.MULTILINE)
LINK = re.compile(r"(\]\()([^()\s#:]+)(#[^()\s]*)?(\))")
ANCHORED_HEADING = re.compile(r'^(#+) <a id="([^"]+)"></a>', re.MULTILINE)


def pages(source: Path) -> dict[Path, Path]:
    """By file of the repository, the page that shows it: itself if it is a page, else one that includes it."""
    found: dict[Path, Path] = {}
    for page in source.rglob("*.md"):
        if "_build" in page.parts:
            continue
        found.setdefault(page.resolve(), page)
        for included in INCLUDE.findall(page.read_text(encoding="utf-8")):
            found[(page.parent / included).resolve()] = page
    return found


def own_links(text: str, origin: Path, page: Path, known: dict[Path, Path]) -> str:
    """`text` of the file `origin`, with links as they must be on `page`."""

    def link(match: re.Match[str]) -> str:
        start, target, anchor, end = match.groups()
        file = (origin.parent / target).resolve()
        if not file.exists():
            return match[0]
        shown = known.get(file, file)
        return f"{start}{Path(os.path.relpath(shown, page.parent)).as_posix()}{anchor or ''}{end}"

    return ANCHORED_HEADING.sub(r"(\2)=\n\1 ", LINK.sub(link, text))


def read(app: Sphinx, name: str, source: list[str]) -> None:
    page = Path(app.env.doc2path(name))
    if page.suffix != ".md":
        return
    known = pages(Path(app.srcdir))

    def included(match: re.Match[str]) -> str:
        origin = (page.parent / match[1]).resolve()
        app.env.note_dependency(str(origin))
        return own_links(origin.read_text(encoding="utf-8"), origin, page, known)

    own, parts = INCLUDE.split(source[0])[::2], INCLUDE.finditer(source[0])
    texts = [own_links(text, page, page, known) for text in own]
    source[0] = "".join(
        text + (included(part) if part else "") for text, part in zip(texts, [*parts, None], strict=True)
    )


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
