"""The page: whole, safe, and loading nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from fastmlp.benchmarks.report import render
from fastmlp.benchmarks.report.page import json_for_script
from fastmlp.benchmarks.results import LEFT_OUT, Results
from fastmlp.benchmarks.tables import format_time

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\u2028$x_1^2$"


@pytest.fixture(scope="module")
def page() -> list[str]:
    """A place for the page of the complete results, rendered once."""
    return []


@pytest.fixture
def complete(content: dict[str, Any], page: list[str]) -> str:
    if not page:
        page.append(render(content))
    return page[0]


def test_the_page_is_well_formed_and_its_ids_are_unique(
    complete: str, read_page: Callable[[str], Any]
) -> None:
    read = read_page(complete)
    assert len(read.ids) == len(set(read.ids))
    missing = set(read.referenced) - set(read.ids)
    assert not missing
    in_styles = re.findall(r"url\(#([^)]*)\)", complete)
    assert in_styles and set(in_styles) <= set(read.ids)


def test_the_page_loads_nothing(complete: str, read_page: Callable[[str], Any]) -> None:
    assert read_page(complete).loaded == []
    assert not re.search(r"https?://", complete)
    assert not re.search(r"<link|<iframe|<object|@import|url\((?!#)", complete)
    assert "default-src 'none'" in complete


def test_every_measurement_is_on_the_page(
    complete: str, content: dict[str, Any], read_page: Callable[[str], Any]
) -> None:
    text = read_page(complete).text
    for each in content["measurements"]:
        assert format_time(each["median_seconds"]) in text
        assert ", ".join(map(format_time, each["repetitions"])) in text
        if each["accuracy"] is not None:
            assert f"{each['accuracy']:.2%}" in text
    for found in content["drawbacks"]["experiments"]:
        assert found["paragraph"] in text and found["title"] in text


def test_every_figure_has_a_plot_and_its_raw_data(complete: str) -> None:
    figures = re.findall(r"<figure.*?</figure>", complete, re.DOTALL)
    drawn = [each for each in figures if "<svg" in each]
    pictures = [each for each in figures if "<img" in each]
    assert len(drawn) >= 18 and len(pictures) == 1 and len(drawn) + len(pictures) == len(figures)
    for figure in drawn:
        assert figure.count("<svg") == 1 and "<details>" in figure and "<td" in figure
        assert "<text" in figure  # text stays text


def test_plots_have_no_colours_of_their_own(complete: str) -> None:
    drawings = re.findall(r"<svg.*?</svg>", complete, re.DOTALL)
    colours = {each for svg in drawings for each in re.findall(r"#[0-9a-f]{6}\b", svg)}
    assert colours == set()
    assert all("var(--" in svg for svg in drawings)


def test_the_results_can_be_had_again_from_the_page(complete: str, content: dict[str, Any]) -> None:
    inside = re.search(r'<script type="application/json" id="results">(.*?)</script>', complete)
    assert inside is not None
    found = json.loads(inside.group(1))
    assert found == Results.from_dict(content).as_dict()
    assert found["drawbacks"] == content["drawbacks"]


def test_hostile_names_stay_text(content: dict[str, Any], read_page: Callable[[str], Any]) -> None:
    content["machine"]["cpu"] = content["command"] = HOSTILE
    content["cases"][0]["title"] = content["peers"][0]["title"] = HOSTILE
    content["peers"][-1]["reason"] = content["software"]["numpy"] = HOSTILE
    content["failures"] = [{"case": "matmul", "contender": "numba", "error": HOSTILE}]
    for found in content["drawbacks"]["experiments"]:
        found["title"] = found["paragraph"] = found["x_label"] = HOSTILE
        found["series"][0]["label"] = HOSTILE
    content["drawbacks"]["pictures"][0]["labels"][0] = HOSTILE
    page = render(content)
    read = read_page(page)
    assert page.count("<script") == 2 and read.tags.count("img") == 1
    assert "onerror=alert(2)>" not in page.replace("onerror=alert(2)&gt;", "")
    assert json.loads(read.scripts[0])["command"] == HOSTILE


@pytest.mark.parametrize("text", ['"</script>"', '"<!--<script>"', '"a&b\\u2028"'])
def test_json_for_script_is_the_same_json_without_markup(text: str) -> None:
    safe = json_for_script(text)
    assert json.loads(safe) == json.loads(text)
    assert not set(safe) & set("<>&\u2028\u2029")


def test_an_interrupted_run_and_failures_are_marked_at_the_top(
    short_content: dict[str, Any], complete: str
) -> None:
    assert 'class="warning"' not in complete
    few = ("matmul", "sigmoid")  # plots to draw
    measured = [each for each in short_content["measurements"] if each["case"] in few]
    content = short_content | {"measurements": measured}
    failure = {"case": "matmul", "contender": "numba", "error": "it broke"}
    page = render(content | {"complete": False, "failures": [failure] * 5})
    top = page[: page.index("<section")]
    assert "Incomplete: the run was interrupted" in top
    assert "forward 128x784 @ 784x128 on numba failed: it broke" in top
    assert "2 more failed" in top
    late = {"case": "sigmoid", "contender": "", "error": f"{LEFT_OUT}the time was over"}
    page = render(content | {"failures": [late]})
    assert "1 case was left out, the time was over; listed under Method." in page
    section = {"case": "roofline", "contender": "", "error": "no probe"}
    assert "roofline failed: no probe" in render(content | {"failures": [section]})
