"""How much of the experiments a level runs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from fastmlp.errors import unknown_name


@dataclass(frozen=True)
class Level:
    """The sizes of the experiments; their meaning is in the experiments' files.

    Attributes
    ----------
    name : str
    seeds : tuple of int
        Each seed draws its own initial weights, images or sequences, and permutation.
    fewest_seeds : int
        So many seeds are run, however slow the machine.
    seconds : float
        The other seeds are left out once their experiment would take more than its share of these.
    sections : tuple of str
        Which experiments run.
    digit_rows, digit_test_rows, digit_epochs : int
        Images for the experiments with digits, and epochs of the CNN.
    permuted_shares : tuple of float
        Shares of the pixels that change places.
    shifts, angles, factors : tuple of float
        Translations (pixels), rotations (degrees) and scales that are tested.
    sides : tuple of int
        Heights and widths of the growing image, multiples of 28.
    growth_rows, growth_repeats : int
        Images per timed epoch, and how often it is timed.
    photograph_rows : tuple of int
        Numbers of training images of CIFAR-10 (or of what stands in for it).
    photograph_test_rows, photograph_epochs : int
    sequence_rows, sequence_epochs : int
        Training sequences, and epochs of the recurrent networks.
    train_steps, test_steps : tuple of int
        Lengths of the sequences trained on and tested.
    """

    name: str
    seeds: tuple[int, ...]
    fewest_seeds: int = 2
    seconds: float = math.inf
    sections: tuple[str, ...] = (
        "permutation",
        "transforms",
        "growth",
        "photographs",
        "adding",
        "recall",
        "shift",
    )
    digit_rows: int = 700
    digit_test_rows: int = 300
    digit_epochs: int = 5
    permuted_shares: tuple[float, ...] = (0.0, 1.0)
    shifts: tuple[float, ...] = (0, 1, 2, 3, 4, 5, 6, 7, 8)
    angles: tuple[float, ...] = (0, 15, 30, 45, 60, 90)
    factors: tuple[float, ...] = (0.5, 0.7, 0.85, 1.0, 1.15, 1.3, 1.5)
    sides: tuple[int, ...] = (28, 56, 112, 224)
    growth_rows: int = 32
    growth_repeats: int = 3
    photograph_rows: tuple[int, ...] = (300, 800)
    photograph_test_rows: int = 500
    photograph_epochs: int = 5
    sequence_rows: int = 2000
    sequence_epochs: int = 10
    train_steps: tuple[int, ...] = (4, 6, 8, 10, 12)
    test_steps: tuple[int, ...] = (4, 8, 12, 16, 20, 24, 36, 48)
    shift_steps: tuple[int, ...] = field(default=(0, 1, 2, 3, 4, 5))


LEVELS = {
    "quick": Level(
        "quick",
        seeds=(0, 1),
        fewest_seeds=1,
        seconds=3.0,
        sections=("permutation", "transforms", "growth", "shift"),
        digit_rows=300,
        digit_test_rows=200,
        digit_epochs=5,
        shifts=(0, 2, 4, 8),
        angles=(0, 45, 90),
        factors=(0.6, 1.0, 1.4),
        sides=(28, 56),
        growth_rows=16,
        growth_repeats=2,
        sequence_rows=600,
        sequence_epochs=6,
    ),
    "default": Level("default", seeds=(0, 1, 2), seconds=36.0),
    "full": Level(
        "full",
        seeds=(0, 1, 2, 3, 4),
        digit_rows=3000,
        digit_test_rows=2000,
        digit_epochs=10,
        permuted_shares=(0.0, 0.25, 0.5, 0.75, 1.0),
        angles=(0, 10, 20, 30, 45, 60, 75, 90),
        growth_rows=256,
        growth_repeats=5,
        photograph_rows=(1000, 3000, 8000),
        photograph_test_rows=1000,
        photograph_epochs=10,
        sequence_rows=8000,
        sequence_epochs=20,
        test_steps=(4, 8, 12, 16, 20, 24, 36, 48, 72, 96),
    ),
}


def level_of(name: str) -> Level:
    """Return a level by its name.

    Raises
    ------
    ValueError, TypeError
        If there is no level of that name.
    """
    if not isinstance(name, str) or name not in LEVELS:
        raise unknown_name("level", name, LEVELS)
    return LEVELS[name]
