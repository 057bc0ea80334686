"""The whole report, in every format."""

from __future__ import annotations

import builtins
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastmlp.benchmarks.report import missing_extras, render, summary, write_report
from fastmlp.benchmarks.tables import format_time
from fastmlp.errors import FormatError

FORMATS = ("html", "markdown", "text")
SECTIONS = (
    "Kernels", "Training", "Scaling", "Inference", "Peers", "Drawbacks", "Cold start", "Method",
)  # fmt: skip


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that makes packages unimportable."""
    original = builtins.__import__

    def hide(*packages: str) -> None:
        def importing(name: str, *arguments: Any, **keywords: Any) -> Any:
            if name.partition(".")[0] in packages:
                raise ImportError(f"No module named {name!r}")
            return original(name, *arguments, **keywords)

        monkeypatch.setattr(builtins, "__import__", importing)

    return hide


@pytest.mark.parametrize("form", FORMATS)
def test_every_section_is_there(content: dict[str, Any], form: Any) -> None:
    text = render(content, form)
    positions = [text.rindex(f"{title}</h2>" if form == "html" else title) for title in SECTIONS]
    if form == "html":
        assert positions == sorted(positions)


@pytest.mark.parametrize("form", FORMATS)
def test_bare_results_say_what_is_missing(bare_content: dict[str, Any], form: Any) -> None:
    text = render(bare_content, form)
    assert "Incomplete: the run was interrupted" in text
    assert "Nothing was measured." in text
    assert "The experiments were not part of this run." in text
    assert "No peer was measured in this run." in text


@pytest.mark.parametrize("key", ["roofline", "cold_start", "drawbacks"])
@pytest.mark.parametrize("form", FORMATS[1:])
def test_each_section_may_be_null_or_empty(content: dict[str, Any], key: str, form: Any) -> None:
    render(content | {key: None}, form)
    render(content | {key: {}}, form)


@pytest.mark.parametrize("group", ["kernels", "training", "inference", "growth"])
def test_each_group_may_be_absent(content: dict[str, Any], group: str) -> None:
    content["measurements"] = [each for each in content["measurements"] if each["group"] != group]
    for form in FORMATS[1:]:
        render(content, form)  # type: ignore[arg-type]


def test_a_page_of_training_only(content: dict[str, Any], read_page: Callable[[str], Any]) -> None:
    content["measurements"] = [e for e in content["measurements"] if e["group"] == "training"]
    changes = dict.fromkeys(("roofline", "cold_start", "drawbacks"))
    text = read_page(render(content | changes)).text
    assert "No kernel was measured in this run." in text
    assert "No inference was measured in this run." in text


def test_a_run_without_backends_or_without_peers_is_reported(content: dict[str, Any]) -> None:
    for kind in ("backend", "peer"):
        kept = [each for each in content["measurements"] if each["kind"] != kind]
        assert "Training" in render(content | {"measurements": kept}, "text")


@pytest.mark.parametrize("hidden", [("jinja2",), ("jinja2", "matplotlib")])
def test_without_jinja_the_tables_come(
    content: dict[str, Any],
    without: Callable[..., None],
    read_page: Callable[[str], Any],
    hidden: tuple[str, ...],
) -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    without(*hidden)
    page = render(content)
    read = read_page(page)
    assert "[report]" in read.text and "jinja2" in read.text
    assert "svg" not in read.tags and "script" not in read.tags
    for each in content["measurements"]:
        assert format_time(each["median_seconds"]) in read.text
    assert not re.search(r"https?:|url\(|@import", page)
    assert len(missing_extras()) == len(hidden)


def test_without_matplotlib_the_page_comes_without_plots(
    content: dict[str, Any], without: Callable[..., None], read_page: Callable[[str], Any]
) -> None:
    pytest.importorskip("jinja2")
    without("matplotlib")
    read = read_page(render(content))
    assert "There are no plots" in read.text and "[report]" in read.text
    assert "svg" not in read.tags and "script" in read.tags


def test_write_report_writes_the_format_that_is_asked_for(
    content: dict[str, Any], tmp_path: Path
) -> None:
    write_report(content, tmp_path / "a.html")
    write_report(content, tmp_path / "a.md", "markdown")
    assert (tmp_path / "a.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (tmp_path / "a.md").read_text(encoding="utf-8").startswith("# fastmlp")


def test_a_report_that_cannot_be_made_overwrites_nothing(
    content: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    path.write_text("before", encoding="utf-8")
    del content["drawbacks"]["experiments"][0]["series"]
    with pytest.raises(FormatError, match="the part 'drawbacks' is not as"):
        write_report(content, path)
    assert path.read_text(encoding="utf-8") == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_summary_is_the_headline(content: dict[str, Any]) -> None:
    text = summary(content)
    assert text.startswith("The fastest backend here is cython: 0.297 s per epoch")
    assert "the speed of pure Python" in text and "of PyTorch" in text
