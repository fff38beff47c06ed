"""The directive `package-table`: metrics and predictions as tables, from the objects themselves."""

from __future__ import annotations

from docstrings import escaped
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def metrics() -> list[tuple[str, ...]]:
    from sgdmodels import METRICS

    rows = [(f"``{m.name}``", words(m.long_name), m.units, "yes" if m.per_batch_size else "no") for m in METRICS]
    return [("name", "what it is", "unit", "depends on b"), *rows]


def predictions() -> list[tuple[str, ...]]:
    from sgdmodels import PREDICTIONS

    rows = [(p.name, words(p.statement), f":math:`{p.formula}`", words(p.reference)) for p in PREDICTIONS]
    return [("name", "statement", "formula", "source"), *rows]


def words(text: str) -> str:
    """Plain text: no bar, star or underscore of it is markup."""
    return escaped(text).replace("_", r"\_")


TABLES = {"metrics": metrics, "predictions": predictions}


class PackageTable(SphinxDirective):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        lines = [".. list-table::", "   :header-rows: 1", ""]
        for row in TABLES[self.arguments[0]]():
            lines += [
                f"   {'-' if place else '* -'} {cell}".replace("   - ", "     - ") for place, cell in enumerate(row)
            ]
        self.content = StringList(lines, source=f"package-table {self.arguments[0]}")
        return self.parse_content_to_nodes()


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("package-table", PackageTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
