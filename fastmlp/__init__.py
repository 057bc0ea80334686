"""fastmlp: multilayer perceptrons, from scratch, trained on the CPU at full speed.

`Network` says what the network is, `Trainer` trains it on one of four backends. See README.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Where each public name lives. Loaded on first use, so that the import stays quick.
_HOMES = {
    "ACTIVATIONS": "kernels.formulas",
    "AbsoluteError": "losses",
    "Adagrad": "optimizers",
    "Adam": "optimizers",
    "AdamW": "optimizers",
    "BackendInfo": "backend",
    "BackendUnavailableError": "errors",
    "BinaryCrossEntropy": "losses",
    "Callback": "callbacks",
    "CategoricalCrossEntropy": "losses",
    "Clipping": "regularization",
    "Constant": "schedules",
    "CosineRestarts": "schedules",
    "CustomActivation": "custom",
    "CustomLoss": "custom",
    "DivergenceError": "errors",
    "Dropout": "regularization",
    "EarlyStopping": "callbacks",
    "Evaluation": "evaluation",
    "Focal": "losses",
    "FormatError": "errors",
    "Gamma": "losses",
    "Gradients": "kernels.contract",
    "Hinge": "losses",
    "History": "history",
    "Huber": "losses",
    "InverseScaling": "schedules",
    "LOSSES": "kernels.formulas",
    "Lion": "optimizers",
    "MLPClassifier": "estimators",
    "MLPRegressor": "estimators",
    "MissingExtraError": "errors",
    "Muon": "optimizers",
    "Nadam": "optimizers",
    "Network": "network",
    "OneCycle": "schedules",
    "Poisson": "losses",
    "Quantile": "losses",
    "QuantizedNetwork": "quantization",
    "RMSprop": "optimizers",
    "RangeTest": "range_test",
    "ReduceOnPlateau": "callbacks",
    "Regularization": "regularization",
    "SGD": "optimizers",
    "SquaredError": "losses",
    "StepDecay": "schedules",
    "TimeLimit": "callbacks",
    "Trainer": "trainer",
    "WarmUp": "schedules",
    "WeightAveraging": "callbacks",
    "backends": "backend",
    "learning_rate_range_test": "range_test",
    "load": "persistence",
    "save": "persistence",
}

# ``from fastmlp import *`` must work without scikit-learn.
__all__ = [
    *sorted(name for name, home in _HOMES.items() if home != "estimators"),
    "__version__",
    "datasets",
]

if TYPE_CHECKING:
    from . import datasets as datasets
    from .backend import BackendInfo as BackendInfo
    from .backend import backends as backends
    from .callbacks import Callback as Callback
    from .callbacks import EarlyStopping as EarlyStopping
    from .callbacks import ReduceOnPlateau as ReduceOnPlateau
    from .callbacks import TimeLimit as TimeLimit
    from .callbacks import WeightAveraging as WeightAveraging
    from .custom import CustomActivation as CustomActivation
    from .custom import CustomLoss as CustomLoss
    from .errors import BackendUnavailableError as BackendUnavailableError
    from .errors import DivergenceError as DivergenceError
    from .errors import FormatError as FormatError
    from .errors import MissingExtraError as MissingExtraError
    from .estimators import MLPClassifier as MLPClassifier
    from .estimators import MLPRegressor as MLPRegressor
    from .evaluation import Evaluation as Evaluation
    from .history import History as History
    from .kernels.contract import Gradients as Gradients
    from .kernels.formulas import ACTIVATIONS as ACTIVATIONS
    from .kernels.formulas import LOSSES as LOSSES
    from .losses import AbsoluteError as AbsoluteError
    from .losses import BinaryCrossEntropy as BinaryCrossEntropy
    from .losses import CategoricalCrossEntropy as CategoricalCrossEntropy
    from .losses import Focal as Focal
    from .losses import Gamma as Gamma
    from .losses import Hinge as Hinge
    from .losses import Huber as Huber
    from .losses import Poisson as Poisson
    from .losses import Quantile as Quantile
    from .losses import SquaredError as SquaredError
    from .network import Network as Network
    from .optimizers import SGD as SGD
    from .optimizers import Adagrad as Adagrad
    from .optimizers import Adam as Adam
    from .optimizers import AdamW as AdamW
    from .optimizers import Lion as Lion
    from .optimizers import Muon as Muon
    from .optimizers import Nadam as Nadam
    from .optimizers import RMSprop as RMSprop
    from .persistence import load as load
    from .persistence import save as save
    from .quantization import QuantizedNetwork as QuantizedNetwork
    from .range_test import RangeTest as RangeTest
    from .range_test import learning_rate_range_test as learning_rate_range_test
    from .regularization import Clipping as Clipping
    from .regularization import Dropout as Dropout
    from .regularization import Regularization as Regularization
    from .schedules import Constant as Constant
    from .schedules import CosineRestarts as CosineRestarts
    from .schedules import InverseScaling as InverseScaling
    from .schedules import OneCycle as OneCycle
    from .schedules import StepDecay as StepDecay
    from .schedules import WarmUp as WarmUp
    from .trainer import Trainer as Trainer


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "datasets":
        return import_module(".datasets", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module 'fastmlp' has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *_HOMES})
