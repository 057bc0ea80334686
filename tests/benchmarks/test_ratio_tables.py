from __future__ import annotations

import copy
from dataclasses import replace

from fastmlp.benchmarks.compare import compare_results
from fastmlp.benchmarks.ratio_tables import comparison_table, peers_ratio_table
from fastmlp.benchmarks.results import Results


def test_ratio_to_the_fastest_peer(results: Results) -> None:
    table = peers_ratio_table(results)
    assert table.title.endswith("(2 threads)")
    assert table.rows == [
        ["M128", "numpy", "0.500 s ", "97.50%", "jax_scan", "0.250 s ", "97.49%", "2.000",
         "2.000 to 2.000"],
        ["784-128-10, 1 row", "numpy", "10.0 us ", "-", "onnxruntime", "40.0 us ", "-", "0.250",
         "-"],
    ]  # fmt: skip
    results.measurements = [each for each in results.measurements if each.kind == "backend"]
    assert peers_ratio_table(results).rows == []


def test_peers_of_another_precision_are_for_want_of_one(results: Results) -> None:
    jax = next(each for each in results.measurements if each.contender == "jax_scan")
    halved = [seconds / 2 for seconds in jax.repetitions]
    other = replace(jax, contender="torch_bfloat16", precision="bfloat16", repetitions=halved)
    results.measurements.append(other)
    assert peers_ratio_table(results).rows[0][4] == "jax_scan"
    results.measurements.remove(jax)
    assert peers_ratio_table(results).rows[0][4] == "torch_bfloat16"


def test_comparison(results: Results) -> None:
    new = copy.deepcopy(results)
    new.measurements[1].repetitions = [0.02, 0.02, 0.02]
    del new.measurements[0]
    table = comparison_table(compare_results(results, new), results, new)
    assert table.rows[0][:5] == ["matmul", "numpy", "2.00 ms ", "20.0 ms ", "10.000"]
    assert table.rows[0][-1] == "slower"
    assert table.rows[1][1] == "numpy, float64" and table.rows[1][-1] == "too few repetitions"
    assert any("0 faster, 1 slower" in note for note in table.notes)
    assert table.notes[-1] == "Only in the old run: 1 (python matmul)."
