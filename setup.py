"""Build the Cython extensions: emit formulas.h, compile the ISA units once per instruction set.

They are optional: without a C compiler the install succeeds, and `fastmlp.backends()`
says why the cython backend is missing. Everything else about the package is in pyproject.toml.
"""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))  # a PEP 517 build does not put the project on the path

from kernels import emit_c, formulas  # noqa: E402

NATIVE = Path("kernels/native")
ISA_ROW = re.compile(r'^\s*ISA\((\w+), (\w+), (\d+), "([^"]*)", "([^"]*)",', re.MULTILINE)
INSTRUCTION_ROW = re.compile(r'^\s*(\w+)\((\w+), \w+, (\d+), "([^"]*)",', re.MULTILINE)
# Never -ffast-math: it changes the floating-point state of the whole process.
UNIX_FLAGS = ["-O3", "-g0", "-std=c11", "-fno-math-errno", "-fno-trapping-math"]
MSVC_FLAGS = ["/O2", "/std:c11"]
# Formulas give the same bits on every ISA; products use fused multiply-add where there is one.
BFLOAT16_UNIT, INT8_UNIT = "product_bfloat16_unit.c", "int8_unit.c"
AMX_UNIT, AMX_FLOAT32_UNIT = "product_amx_unit.c", "product_amx_float32_unit.c"
# Instructions that only some compilers know: the rows of isa_table.h, by the unit they compile.
INSTRUCTIONS = {
    BFLOAT16_UNIT: "BFLOAT16",
    AMX_UNIT: "AMX",
    AMX_FLOAT32_UNIT: "AMX",
    INT8_UNIT: "INT8",
}
# What is compiled for whole sets: the rows ISA.
UNITS_OF_SETS = ("element_unit.c", "product_unit.c", INT8_UNIT, "probe_unit.c")
UNITS = {
    "fastmlp.kernels.cython_backend": {
        "element_unit.c": (["-ffp-contract=off"], ["/fp:precise"]),
        "product_unit.c": (["-ffp-contract=fast"], ["/fp:contract"]),
        BFLOAT16_UNIT: (["-ffp-contract=fast"], []),
        AMX_UNIT: (["-ffp-contract=fast"], []),
        AMX_FLOAT32_UNIT: (["-ffp-contract=fast"], []),
        INT8_UNIT: (["-ffp-contract=off"], ["/fp:precise"]),
    },
    "fastmlp.kernels.machine_probe": {
        "probe_unit.c": (["-ffp-contract=fast"], ["/fp:contract"]),
    },
}


def is_x86() -> bool:
    """Tell whether x86-64 alone is built for: not so for a universal binary of macOS."""
    platform = sysconfig.get_platform().lower()
    return any(name in platform for name in ("x86_64", "amd64"))


def isa_rows(unit: str, is_msvc: bool) -> list[tuple[str, str, list[str]]]:
    """Read from isa_table.h what a unit is compiled for: (name, vector bytes, flags) per ISA."""
    text = (ROOT / NATIVE / "isa_table.h").read_text(encoding="utf-8")
    isas = [
        (name, vector_bytes, (msvc_flags if is_msvc else unix_flags).split())
        for name, family, vector_bytes, unix_flags, msvc_flags in ISA_ROW.findall(text)
        if unit in UNITS_OF_SETS and (family == "any" or is_x86())
    ]
    instructions = [
        (name, vector_bytes, flags.split())
        for kind, name, vector_bytes, flags in INSTRUCTION_ROW.findall(text)
        if kind == INSTRUCTIONS.get(unit) and is_x86() and not is_msvc
    ]
    return isas + instructions


class BuildNative(build_ext):
    """Compiles the ISA unit once per row of isa_table.h and links the objects in."""

    def build_extension(self, ext: Extension) -> None:
        from Cython.Build import cythonize

        is_msvc = self.compiler.compiler_type == "msvc"
        flags = MSVC_FLAGS if is_msvc else UNIX_FLAGS
        generated = Path(self.build_temp) / "generated"
        generated.mkdir(parents=True, exist_ok=True)
        emit_c.write_header(formulas, generated / "formulas.h")
        ext.include_dirs += [str(generated), str(NATIVE)]
        ext.extra_compile_args += flags
        ext.extra_objects = []
        if is_x86():
            ext.define_macros.append(("FASTMLP_X86", "1"))
        headers = [str(path) for path in [*NATIVE.glob("*.h"), generated / "formulas.h"]]
        table = (ROOT / NATIVE / "isa_table.h").read_text(encoding="utf-8")
        instructions = {name for kind, name, *_ in INSTRUCTION_ROW.findall(table) if kind != "ISA"}

        def compile_unit(unit: str, name: str, vector_bytes: str, added: list[str]) -> list[str]:
            return self.compiler.compile(
                [str(NATIVE / unit)],
                output_dir=str(Path(self.build_temp) / name),
                macros=[
                    *ext.define_macros,
                    ("FASTMLP_ISA", name),
                    (f"FASTMLP_FOR_{name.upper()}", "1"),
                    ("FASTMLP_VECTOR_BYTES", vector_bytes),
                ],
                include_dirs=ext.include_dirs,
                extra_postargs=added,
                depends=headers,
            )

        # A minute of work for one CPU. The first call sets MSVC up, and must be alone.
        with ThreadPoolExecutor(1 if is_msvc else os.cpu_count()) as compilers:
            objects = {}
            for unit, (unix_unit_flags, msvc_unit_flags) in UNITS[ext.name].items():
                unit_flags = flags + (msvc_unit_flags if is_msvc else unix_unit_flags)
                for name, vector_bytes, isa_flags in isa_rows(unit, is_msvc):
                    objects[unit, name] = compilers.submit(
                        compile_unit, unit, name, vector_bytes, unit_flags + isa_flags
                    )
            pyx = [source for source in ext.sources if source.endswith(".pyx")]
            made = cythonize(
                [Extension(ext.name, pyx)],
                build_dir=str(generated),
                compiler_directives={
                    "language_level": 3,
                    "boundscheck": False,
                    "wraparound": False,
                    "cdivision": True,
                    "initializedcheck": False,
                },
            )
        missing = set()
        for (_, name), made_objects in objects.items():
            try:
                ext.extra_objects += made_objects.result()
            except CompileError:  # older compilers and assemblers do not know it
                if name not in instructions:
                    raise
                print(f"built without {name}: the compiler has none", file=sys.stderr)
                missing.add(name)
        built = {name for _, name in objects if name in instructions} - missing
        ext.define_macros += [(f"FASTMLP_{name.upper()}", "1") for name in sorted(built)]
        ext.sources = [s for s in ext.sources if s not in pyx] + made[0].sources
        super().build_extension(ext)


setup(
    packages=[
        "fastmlp",
        "fastmlp.callbacks",
        "fastmlp.commands",
        "fastmlp.datasets",
        "fastmlp.estimators",
        "fastmlp.explain",
        "fastmlp.kernels",
        "fastmlp.benchmarks",
        "fastmlp.benchmarks.drawbacks",
        "fastmlp.benchmarks.peers",
        "fastmlp.benchmarks.report",
    ],
    package_dir={
        "fastmlp": "fastmlp",
        "fastmlp.kernels": "kernels",
        "fastmlp.benchmarks": "benchmarks",
    },
    package_data={"fastmlp": ["py.typed"], "fastmlp.benchmarks.report": ["templates/*"]},
    include_package_data=False,
    ext_modules=[
        Extension(
            "fastmlp.kernels.cython_backend",
            [
                "kernels/cython_backend.pyx",
                "kernels/native/amx_check.c",
                "kernels/native/dispatch.c",
                "kernels/native/pool.c",
            ],
            depends=[
                str(path.relative_to(ROOT))
                for path in [
                    *(ROOT / NATIVE).iterdir(),
                    *(ROOT / "kernels").glob("*.py"),
                    *(ROOT / "kernels").glob("*.pxi"),
                ]
            ],
            optional=True,
        ),
        Extension(
            "fastmlp.kernels.machine_probe",
            [
                "kernels/machine_probe.pyx",
                "kernels/native/probe.c",
                "kernels/native/probe_matrix.c",
            ],
            depends=[str(path.relative_to(ROOT)) for path in (ROOT / NATIVE).iterdir()],
            optional=True,
        ),
    ],
    cmdclass={"build_ext": BuildNative},
)
