from __future__ import annotations

import re
import xml.etree.ElementTree
from pathlib import Path
from typing import Any

import pytest

from fastmlp.benchmarks.report import write_plots

pytest.importorskip("matplotlib")


def test_each_plot_is_a_file_that_stands_alone(content: dict[str, Any], tmp_path: Path) -> None:
    paths = write_plots(content | {"drawbacks": None}, tmp_path)
    assert len(paths) > 12 and {path.stem for path in paths} >= {"training-peers"}
    for path in paths:
        text = path.read_text(encoding="utf-8")
        root = xml.etree.ElementTree.fromstring(text)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert not re.search(r"href=\"(?!#)|@import|https?://(?!www\.w3\.org/2000/svg)", text)
        used = set(re.findall(r"var\((--[\w-]+)\)", text))
        assert used and all(f"{name}:" in text for name in used)
        assert "prefers-color-scheme: dark" in text
