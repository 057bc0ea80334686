"""The page in a real browser: nothing is fetched, nothing fails, tables sort, it prints."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fastmlp.benchmarks.report import plots, render

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium on this machine")

OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--enable-logging=stderr", "--hide-scrollbars",
)  # fmt: skip

LISTENER = """<script>
window.problems = [];
addEventListener("error", (event) => problems.push(String(event.message)), true);
addEventListener("securitypolicyviolation", (event) => problems.push(event.violatedDirective));
</script>"""

PROBE = """<script>
addEventListener("load", () => {
  const texts = (table, column) => [...table.tBodies[0].rows].map((row) =>
    row.cells[column].dataset.value ?? row.cells[column].textContent);
  const table = document.querySelector("#training .blocks > .table table");
  const header = table.tHead.rows[0].cells[1];
  const before = texts(table, 1);
  header.querySelector("button").click();
  const ascending = [texts(table, 1), header.getAttribute("aria-sort")];
  header.querySelector("button").focus();
  const focused = document.activeElement === header.querySelector("button");
  document.activeElement.click();  // what Enter does on a button
  const descending = [texts(table, 1), header.getAttribute("aria-sort")];
  const names = table.tHead.rows[0].cells[0];
  names.querySelector("button").click();
  let downloaded = null;
  HTMLAnchorElement.prototype.click = function () { downloaded = [this.download, this.href]; };
  document.getElementById("download").click();
  const background = () => getComputedStyle(document.body).backgroundColor;
  const colours = [background()];
  const theme = document.getElementById("theme");
  for (let i = 0; i < 3; i++) { theme.click(); colours.push(background()); }
  const plots = [...document.querySelectorAll(".plot svg")].map((svg) => {
    const box = svg.getBoundingClientRect();
    const clipped = [...svg.querySelectorAll("text")].filter((text) => {
      const inside = text.getBoundingClientRect();
      return inside.left < box.left - 1 || inside.right > box.right + 1 ||
        inside.top < box.top - 1 || inside.bottom > box.bottom + 1;
    }).map((text) => text.textContent);
    return [box.width, box.height, clipped];
  });
  const boxes = (svg) => [...svg.querySelectorAll("text")].map((text) =>
    [text.textContent, text.getBoundingClientRect()]);
  const overlap = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 0.5 &&
    Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3;  // the boxes have leading
  const overlapping = [...document.querySelectorAll(".plot svg")].flatMap((svg) => {
    const all = boxes(svg);
    return all.flatMap(([a, boxA], i) => all.slice(i + 1)
      .filter(([, boxB]) => overlap(boxA, boxB)).map(([b]) => `${a} | ${b}`));
  });
  // Those that are open: a table that is folded away may scroll sideways.
  const scrolling = [...document.querySelectorAll(".table > .scroll")]
    .filter((each) => each.scrollWidth > each.clientWidth).map((each) => each.ariaLabel);
  const found = {
    before, ascending, descending, focused, downloaded, colours, plots, problems,
    overlapping, scrolling,
    sorted_names: texts(table, 0), still: header.getAttribute("aria-sort"),
    named: names.getAttribute("aria-sort"),
    fetched: performance.getEntriesByType("resource").map((each) => each.name)
      .filter((name) => !name.startsWith("data:")),
    widths: [document.documentElement.scrollWidth, innerWidth],
  };
  const out = document.createElement("pre");
  out.id = "found";
  out.textContent = JSON.stringify(found);
  document.body.append(out);
});
</script>"""


def browse(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [str(BROWSER), *OPTIONS, f"--user-data-dir={folder / 'profile'}", *options]
    return subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", timeout=120, check=False
    )


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """The page, rendered once."""
    return {}


@pytest.fixture
def page(content: dict[str, Any], pages: dict[str, str]) -> str:
    if "page" not in pages:
        pages["page"] = render(content)
    return pages["page"]


@pytest.fixture
def crowded_page(crowded_content: dict[str, Any], pages: dict[str, str]) -> str:
    if "crowded" not in pages:
        pages["crowded"] = render(crowded_content)
    return pages["crowded"]


def probe(page: str, folder: Path, width: int) -> dict[str, Any]:
    """Open the page, use it, and return what was found."""
    path = folder / "report.html"
    text = page.replace("<head>", "<head>" + LISTENER, 1).replace("</body>", PROBE + "</body>", 1)
    path.write_text(text, encoding="utf-8")
    result = browse(folder, f"--window-size={width},900", "--dump-dom", path.as_uri())
    found = re.search(r'<pre id="found">(.*?)</pre>', result.stdout, re.DOTALL)
    assert found is not None, result.stderr
    assert "CONSOLE" not in result.stderr, result.stderr
    loaded: dict[str, Any] = json.loads(html.unescape(found.group(1)))
    return loaded


@pytest.mark.parametrize("width", [500, 820, 1400])
def test_the_page_works_in_a_browser(page: str, tmp_path: Path, width: int) -> None:
    found = probe(page, tmp_path, width)
    assert found["problems"] == [] and found["fetched"] == []

    def numbers(texts: list[str]) -> list[float]:
        return [float(text) for text in texts]

    before = numbers(found["before"])
    assert before != sorted(before)
    assert numbers(found["ascending"][0]) == sorted(before)
    assert numbers(found["descending"][0]) == sorted(before, reverse=True)
    assert [found["ascending"][1], found["descending"][1]] == ["ascending", "descending"]
    names = [name.lower() for name in found["sorted_names"]]
    assert names == sorted(names)
    assert found["focused"] and found["still"] is None and found["named"] == "ascending"
    assert found["downloaded"][0] == "results.json"
    assert found["downloaded"][1].startswith("blob:")
    light, dark = found["colours"][1:3]
    assert light != dark and found["colours"][0] == found["colours"][3]
    assert len(found["plots"]) == page.count("<svg") >= 18
    for plot_width, plot_height, clipped in found["plots"]:
        assert plot_width > 250 and plot_height > 60 and clipped == []
    assert found["widths"][0] <= found["widths"][1]  # the page does not scroll sideways


@pytest.mark.parametrize("width", [500, 1280, 1600])
def test_crowded_plots_and_tables_have_room(crowded_page: str, tmp_path: Path, width: int) -> None:
    found = probe(crowded_page, tmp_path, width)
    assert found["overlapping"] == []
    assert [clipped for _, _, clipped in found["plots"] if clipped] == []
    assert found["widths"][0] <= found["widths"][1]
    if width >= 1280:
        assert found["scrolling"] == []


def test_labels_that_overlap_are_found_out(
    crowded_content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probe itself can fail: as many columns of a legend, and ticks, as there are."""
    monkeypatch.setattr(plots, "_legend_columns", lambda entries: 4)
    monkeypatch.setattr(plots, "_spaced", lambda xs, kind: xs)
    found = probe(render(crowded_content), tmp_path, 1280)
    assert "67.1 MB | 268 MB" in found["overlapping"]
    assert any("numpy 1 thread" in clipped for _, _, clipped in found["plots"])


def test_a_page_that_fetches_or_fails_is_found_out(page: str, tmp_path: Path) -> None:
    """The probe itself can fail."""
    broken = page.replace("</main>", "<script>nothing.here()</script></main>")
    broken = broken.replace("</main>", '<img src="file:///nothing.png"></main>')
    path = tmp_path / "report.html"
    text = broken.replace("<head>", "<head>" + LISTENER, 1).replace("</body>", PROBE + "</body>", 1)
    path.write_text(text, encoding="utf-8")
    result = browse(tmp_path, "--dump-dom", path.as_uri())
    found = re.search(r'<pre id="found">(.*?)</pre>', result.stdout, re.DOTALL)
    assert found is not None
    problems = json.loads(html.unescape(found.group(1)))["problems"]
    assert any("nothing is not defined" in each for each in problems)
    assert "img-src" in problems
    assert "CONSOLE" in result.stderr


def test_the_page_prints(page: str, tmp_path: Path) -> None:
    source, target = tmp_path / "report.html", tmp_path / "report.pdf"
    source.write_text(page, encoding="utf-8")
    result = browse(tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={target}", source.as_uri())
    assert target.is_file(), result.stderr
    assert target.read_bytes().startswith(b"%PDF-") and target.stat().st_size > 100_000
