"""What a phantom is asked to be: the patient, the tumour and the scanner."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from flexict_core.errors import InputError

LOBES = ("RUL", "RML", "RLL", "LUL", "LLL")


@dataclass(frozen=True)
class Scanner:
    """How a scanner renders a body.

    `sharpness` is the in-plane kernel: above 0 it enhances edges and makes noise fine-grained, below 0 it
    smooths both (the weight of the Laplacian; from -1 to 1). `noise_sd_hu` holds inside a body of middle size.
    """

    name: str
    slice_thickness_mm: float
    noise_sd_hu: float
    sharpness: float


SCANNERS = {
    "S1": Scanner("S1", slice_thickness_mm=1.5, noise_sd_hu=22.0, sharpness=0.45),
    "S2": Scanner("S2", slice_thickness_mm=3.0, noise_sd_hu=11.0, sharpness=-0.55),
}


@dataclass(frozen=True)
class PhantomSpec:
    """One patient with one lung tumour. Chance differences of anatomy come from the seed, not from here.

    `margin_irregularity` (0 smooth … 1 lobulated and spiculated), `heterogeneity` (0 uniform … 1 patchy with a
    necrotic core) and `emphysema` (0 … 1) are shares. `tumour_diameter_mm` is the longest diameter.
    """

    sex: str = "M"
    height_cm: float = 172.0
    bmi: float = 26.0
    emphysema: float = 0.1
    tumour_diameter_mm: float = 30.0
    tumour_lobe: str = "RUL"
    pleural_contact: bool = False
    margin_irregularity: float = 0.4
    heterogeneity: float = 0.4
    scanner: Scanner = SCANNERS["S1"]

    def __post_init__(self) -> None:
        if self.sex not in ("F", "M"):
            raise InputError(f"sex {self.sex!r} is not known: use 'F' or 'M'")
        if self.tumour_lobe not in LOBES:
            raise InputError(f"tumour_lobe {self.tumour_lobe!r} is not known: use one of {', '.join(LOBES)}")
        limits = {
            "height_cm": (140, 205),
            "bmi": (15, 42),
            "tumour_diameter_mm": (6, 100),
            "emphysema": (0, 1),
            "margin_irregularity": (0, 1),
            "heterogeneity": (0, 1),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"{name} is {value}: give a value from {low} to {high}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; the scanner as a nested dictionary."""
        return asdict(self)
