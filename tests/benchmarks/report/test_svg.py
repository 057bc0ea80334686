from __future__ import annotations

from fastmlp.benchmarks.report.svg import INK, PALETTE, embed

DRAWING = f"""<?xml version="1.0"?><!DOCTYPE svg PUBLIC "x" "http://www.w3.org/x.dtd">
<svg xmlns:xlink="http://www.w3.org/1999/xlink" width="9pt" viewBox="0 0 9 9"
 xmlns="http://www.w3.org/2000/svg"><metadata><a href="http://b"/></metadata>
<defs><style type="text/css">*{{stroke-linejoin: round}}</style>
<path id="m" d="M 1.23456 0"/></defs>
<g clip-path="url(#p1)"><use xlink:href="#m" style="fill: {PALETTE[2]}"/></g>
<text style="fill: {INK}">a</text><!-- c --></svg>"""


def test_a_drawing_takes_the_names_and_colours_of_the_page() -> None:
    text = embed(DRAWING, "plot-7", 'a "plot" <of> it')
    assert text == (
        '<svg viewBox="0 0 9 9" role="img" aria-label="a &quot;plot&quot; &lt;of&gt; it"><defs>'
        '<path id="plot-7-m" d="M 1.23 0"/></defs><g clip-path="url(#plot-7-p1)">'
        '<use href="#plot-7-m" style="fill: var(--series-2)"/></g>'
        '<text style="fill: var(--ink)">a</text></svg>'
    )
