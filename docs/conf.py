"""The site: `python -m sphinx -W --keep-going -b html docs docs/_build/html`; `-b doctest` runs its code."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
from sphinx.application import Sphinx

mpl.use("Agg")

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).parent / "_ext")]

from sgdmodels import __version__  # noqa: E402

project = "sgdmodels"
author = "The sgdmodels developers"
copyright = "The sgdmodels developers, Apache-2.0"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.doctest",
    "sphinx.ext.mathjax",
    "sphinx_gallery.gen_gallery",
    "matplotlib.sphinxext.plot_directive",
    "checked",
    "docstrings",
    "package_tables",
    "repository_pages",
]
exclude_patterns = ["_build", "_ext"]
nitpicky = False
default_role = "py:obj"

html_theme = "furo"
html_title = "sgdmodels"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
mathjax_path = "https://cdn.jsdelivr.net/npm/mathjax@3/es5/tex-mml-chtml.js"

myst_heading_anchors = 3
myst_dmath_double_inline = True

autodoc_member_order = "bysource"
autodoc_type_aliases = {"ArrayLike": "ArrayLike", "FloatArray": "FloatArray"}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 100
autosummary_generate = False

doctest_test_doctest_blocks = ""  # those of docstrings are run by pytest; here, what stands on pages
doctest_global_setup = """
import numpy as np
import sgdmodels as sm

__name__ = "__main__"
"""

plot_html_show_source_link = False
plot_html_show_formats = False
plot_include_source = True
plot_formats = [("png", 150)]
plot_pre_code = "import numpy as np\nimport sgdmodels as sm\n"

sphinx_gallery_conf = {
    "examples_dirs": str(ROOT / "examples"),
    "gallery_dirs": "gallery",
    "filename_pattern": r"/",
    "reset_argv": "gallery_plan.argument",
    "within_subsection_order": "gallery_plan.InOrder",
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "abort_on_example_error": False,
    "only_warn_on_example_error": False,
    "plot_gallery": "True",
    "backreferences_dir": None,
    "write_computation_times": False,
    "parallel": True,  # as many as `-j` says
}


def as_written(app: Sphinx) -> None:
    """To show defaults as written, autodoc changes signatures of functions, which code on the pages would then see."""
    if app.builder.name == "doctest":
        app.config.autodoc_preserve_defaults = False


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", as_written)
