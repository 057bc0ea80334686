"""One table of cases, and what enumerates it: the runner, the pytest-benchmark suites, the report.

- `case`, `cases` and `cases_*` say what is measured, `problem` what is trained;
- `peers` are the other libraries, one file each;
- `levels` says which contenders meet in a case, `measure` how one call is timed, `contest` and
  `worker` where, `execution` in which order; `runner` does what a `request` says; `sections` are
  the parts of a run that are no cases;
- `results` is what comes out and goes into results.json; `compare` sets two runs against each
  other; `tables`, `ratio_tables` and `terminal` (text) and `report` show it.

``fastmlp bench`` runs it all; ``pytest benchmarks`` times the cases under pytest-benchmark.
"""
