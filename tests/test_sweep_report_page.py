"""The page of a report, opened in a real browser: it is whole, draws everything, fits a phone, and asks nobody."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import sgdmodels as sm
from sgdmodels.predictions import PREDICTIONS, Evidence
from sgdmodels.report import SYMBOLS
from sgdmodels.sweep_report import write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
BROWSER = pytest.mark.skipif(CHROMIUM is None, reason="needs a chromium binary on the path")
SWITCHES = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--virtual-time-budget=8000",
)  # fmt: skip
EVIL = "<script>alert(1)</script>"
# Runs before anything else of a copy of the page, and writes what it saw into the title once all is loaded.
CHECK = """<script>
const problems = [];
const log = console.error;
console.error = (...words) => { problems.push(words.join(" ")); log(...words); };
window.addEventListener("error", e => problems.push(String(e.message || e.target.src)), true);
document.addEventListener("securitypolicyviolation", e => problems.push("policy: " + e.blockedURI));
window.alert = words => problems.push("alert " + words);
window.addEventListener("load", async () => {
  const images = [...document.images];
  await Promise.all(images.map(image => image.decode().catch(e => problems.push(String(e)))));
  const box = document.createElement("pre");
  box.id = "seen";
  box.textContent = JSON.stringify({
    problems, images: images.map(i => [i.naturalWidth, i.alt]), title: document.title,
    width: innerWidth, wide: document.documentElement.scrollWidth,
    requests: performance.getEntriesByType("resource").map(r => r.name).filter(n => !n.startsWith("data:")),
    tooWide: [...document.querySelectorAll("body > p, h1, h2, figcaption, li, dd")]
      .filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.tagName),
    holds: document.querySelectorAll(".mark.holds").length,
    heads: [...document.querySelectorAll("table")].map(t => t.querySelectorAll("th[scope]").length),
    formulas: document.querySelectorAll("math").length,
  });
  document.body.append(box);
});
</script>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recipe C at its edge: Batch Sharpness of SGD settles at 2/eta at b = 16."""
    place = tmp_path_factory.mktemp("page")
    dynamics = {EVIL: sm.SGD(0.4, 8), "$a_b$ & {x}": sm.NoisyGD(0.4, 8), "GD": sm.GD(0.4)}
    grid = sm.Grid(
        sm.recipes.gated_quadratic, dynamics, step_size=[0.4], batch_size=[16, 32], steps=12_000, record_every=40,
        replicas=2, metrics=["loss", "gradient_norm", "batch_sharpness", "lambda_max", "gni"],
    )  # fmt: skip
    sm.run_sweep(grid, place / "sweep", progress=False)
    return write_report(place / "sweep", title="Edges & <b>steps</b>")["page"]


def seen(page: Path, folder: Path, width: int) -> dict[str, Any]:
    """What a browser of this width makes of the page."""
    copy = folder / f"copy{width}.html"
    text = page.read_text(encoding="utf-8")
    copy.write_text(text.replace("<head>", "<head>\n" + CHECK, 1), encoding="utf-8")
    assert CHROMIUM is not None
    command = [CHROMIUM, *SWITCHES, f"--user-data-dir={folder / f'profile{width}'}", f"--window-size={width},900"]
    done = subprocess.run([*command, "--dump-dom", copy.as_uri()], capture_output=True, text=True, timeout=120)
    box = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.S)
    assert box, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(html.unescape(box[1]))
    return found


@BROWSER
@pytest.mark.parametrize("width", [500, 1300])  # a headless window is never narrower than 500
def test_a_browser_shows_all_of_it(page: Path, tmp_path: Path, width: int) -> None:
    found = seen(page, tmp_path, width)
    assert found["problems"] == []
    assert found["requests"] == []
    assert found["title"] == "Edges & <b>steps</b>"
    assert len(found["images"]) == 5
    assert all(size > 0 and len(words) > 200 for size, words in found["images"])
    assert found["width"] == width
    assert found["wide"] <= width
    assert found["tooWide"] == []
    assert found["holds"] > 0
    assert found["formulas"] > 20
    assert min(found["heads"]) > 0


@BROWSER
def test_a_phone_needs_no_sideways_scrolling(page: Path, tmp_path: Path) -> None:
    """420 pixels, in a frame, since a window cannot be that narrow."""
    inner = tmp_path / "inner.html"
    inner.write_bytes(page.read_bytes())
    frame = '<iframe id="f" src="inner.html" style="width:420px;height:900px;border:0"></iframe><script>'
    frame += "onload = () => { const d = document.getElementById('f').contentDocument.documentElement;"
    frame += "const p = document.createElement('pre'); p.id = 'seen'; document.body.append(p);"
    frame += "p.textContent = JSON.stringify([d.clientWidth, d.scrollWidth]); }</script>"
    outer = tmp_path / "outer.html"
    outer.write_text(f"<!doctype html><body>{frame}</body>", encoding="utf-8")
    assert CHROMIUM is not None
    command = [CHROMIUM, *SWITCHES, "--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run([*command, "--dump-dom", outer.as_uri()], capture_output=True, text=True, timeout=120)
    box = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout)
    assert box, done.stderr[-2000:]
    inside, needed = json.loads(box[1])
    assert 400 <= inside <= 420
    assert needed <= inside


class Reader(HTMLParser):
    """Tags, what they refer to, and score cards as rows of cells."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.rows: list[list[str]] = []
        self._cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.rows[-1][-1] += data


def test_the_page_refers_to_nothing_outside(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    assert "script" not in reader.tags
    assert "link" not in reader.tags
    assert all(link.startswith("data:image/") for link in reader.links)
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_names_are_shown_as_text(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert EVIL not in text
    assert html.escape(EVIL) in text
    assert "<b>steps</b>" not in text
    captions = (page.parent / "captions.tex").read_text(encoding="utf-8")
    assert r"No closed form is known for GD." in captions  # of Batch Sharpness


@pytest.mark.parametrize(("name", "title"), [
    ("B1", "B1 Batch Sharpness settles at 2/eta"), ("B2", "B2 lambda_max is held below 2/eta"),
])  # fmt: skip
def test_verdicts_are_those_of_predictions_on_runs_of_their_own(page: Path, name: str, title: str) -> None:
    """Judged on runs that simulate makes, at b = 16."""
    reader = Reader()
    reader.feed(page.read_text(encoding="utf-8"))
    (row,) = (r for r in reader.rows if r and r[0] == title)
    prediction = next(p for p in PREDICTIONS if p.name == name)
    recipe = sm.recipes.gated_quadratic(0)
    for column, dynamics in ((1, sm.SGD(0.4, 16)), (3, sm.GD(0.4))):
        run = sm.simulate(
            recipe.model, dynamics, 12_000, recipe.init, replicas=2, record_every=40, batch_size=[16], seed=0,
            metrics=["batch_sharpness", "lambda_max"], progress=False,
        )  # fmt: skip
        finding = prediction.find(Evidence(recipe.model, dynamics, 0.4, {16: run}), 16)
        assert row[column][0] == SYMBOLS[finding.verdict]
    if name == "B2":  # eta lambda_max / 2 is about 0.8 in closed form
        assert row[1][0] == "✓"
