"""``fastmlp info``: the backends, which one "auto" takes and why, the versions and the machine."""

from __future__ import annotations

import argparse

EXAMPLES = """\
examples:
  fastmlp info
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes: nothing."""
    parser.epilog = EXAMPLES


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from fastmlp import __version__
    from fastmlp.backend import backends, choose_backend
    from fastmlp.errors import BackendUnavailableError
    from fastmlp.machine import describe_machine, describe_software, format_bytes

    print(f"fastmlp {__version__}\n\nBackends, fastest first")
    for info in backends():
        if info.available:
            threads = f"{info.n_threads} thread{'s' if info.n_threads != 1 else ''}"
            facts = f"available  {info.isa}, {threads}, {', '.join(info.precisions)}"
            if "bfloat16" in info.precisions:
                note = f"; {info.bfloat16_note}" if info.bfloat16_note else ""
                facts += f" ({info.bfloat16_isa or 'emulated'}{note})"
            if info.float32_products:
                facts += f"; products of float32 {info.float32_products}"
        else:
            facts = f"missing    {info.reason}"
        print(f"  {info.name:8}{facts}")
    try:
        choice = f"takes {choose_backend('auto', 'float32')[1]}"
    except (ValueError, BackendUnavailableError) as error:  # FASTMLP_BACKEND is wrong
        choice = f"fails: {error}"
    print(f"  auto    {choice}")

    print("\nVersions")
    for name, version in describe_software().items():
        print(f"  {name.replace('_', ' '):18}{version or 'not installed'}")

    machine = describe_machine()
    print("\nMachine")
    print(f"  {'CPU':18}{machine['cpu']} ({machine['architecture']})")
    print(f"  {'logical CPUs':18}{machine['logical_cpus']}, {machine['usable_cpus']} usable")
    print(f"  {'memory':18}{format_bytes(machine['memory_bytes'])}")
    print(f"  {'operating system':18}{machine['os']}")
    return 0
