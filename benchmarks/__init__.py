"""One table of cases, and what enumerates it: the runner, the pytest-benchmark suites, the report.

`cases` says what is measured, `measure` how, `runner` in which order; `results` is what comes out
and goes into results.json; `tables` and `report` show it. ``fastmlp bench`` runs it all.
"""
