"""The other libraries that fastmlp is compared with: one file each, listed in `PEERS`.

A peer is added by a file with a subclass of `Peer` and a line here. It is given the same data, the
same initial weights, the same order of the rows and as many threads as the backends, and runs in
its fastest idiomatic form.
"""

from __future__ import annotations

from collections.abc import Iterable

from fastmlp.errors import unknown_name

from .jax_scan import JaxScan
from .numpy_by_hand import NumpyByHand
from .onnxruntime import OnnxRuntime
from .openvino import OpenVino
from .peer import Model, Peer
from .scikit_learn import ScikitLearn
from .tensorflow import TensorFlow
from .torch_bfloat16 import TorchBfloat16
from .torch_compile import TorchCompile
from .torch_eager import TorchEager

__all__ = ["PEERS", "Model", "Peer", "peers_named"]

PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        NumpyByHand(),
        ScikitLearn(),
        TorchEager(),
        TorchCompile(),
        TorchBfloat16(),
        JaxScan(),
        TensorFlow(),
        OnnxRuntime(),
        OpenVino(),
    )
}


def peers_named(names: Iterable[str]) -> list[Peer]:
    """Return peers by name or by the short name of the command line, in the table's order.

    Raises
    ------
    ValueError
        If there is no peer of that name; the nearest one is suggested.
    """
    by_name = {peer.option: peer for peer in PEERS.values()} | PEERS
    chosen = []
    for name in names:
        found = by_name.get(name) or by_name.get(name.replace("-", "_"))
        if found is None:
            options = [peer.option for peer in PEERS.values()]
            raise unknown_name("--peers", name, options)
        chosen.append(found)
    return [peer for peer in PEERS.values() if peer in chosen]
