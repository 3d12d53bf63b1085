"""A synthetic CT series, its enhanced form, and the line with which a file is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from flexict_core import load_mask, load_volume
from flexict_core.errors import ImageError
from tests.small_dicom import SECRETS, CtSeries


@pytest.fixture
def ct() -> CtSeries:
    return CtSeries()


@pytest.fixture
def refused() -> Callable[..., str]:
    """The one line with which a volume (or, with `mask`, a mask) is refused, without the path in front."""

    def message(
        path: Path, error: type[ImageError] = ImageError, *, mask: bool = False, **options: Any
    ) -> str:
        with pytest.raises(ImageError) as caught:
            (load_mask if mask else load_volume)(path, **options)
        text = str(caught.value)
        assert caught.type is error
        assert "\n" not in text
        assert str(path) in text
        assert not any(secret in text for secret in SECRETS)
        return text.removeprefix(f"{path}: ")

    return message


@pytest.fixture
def enhanced() -> Callable[..., Dataset]:
    """The planes of a series as one enhanced multi-frame CT, frames in the order given."""

    def merge(planes: Sequence[Dataset]) -> Dataset:
        ds = copy.deepcopy(planes[0])
        ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
        ds.NumberOfFrames = len(planes)
        ds.PixelData = b"".join(plane.PixelData for plane in planes)
        per_frame = ("ImagePositionPatient", "RescaleSlope", "RescaleIntercept")
        shared_by_all = (
            "ImageOrientationPatient",
            "PixelSpacing",
            "SliceThickness",
            "KVP",
            "ConvolutionKernel",
        )
        for name in (*per_frame, *shared_by_all):
            delattr(ds, name)
        shared = Dataset()
        shared.PlaneOrientationSequence = [_item(planes[0], "ImageOrientationPatient")]
        shared.PixelMeasuresSequence = [_item(planes[0], "PixelSpacing", "SliceThickness")]
        shared.CTXRayDetailsSequence = [_item(planes[0], "KVP")]
        shared.CTReconstructionSequence = [_item(planes[0], "ConvolutionKernel")]
        ds.SharedFunctionalGroupsSequence = Items([shared])
        frames = []
        for plane in planes:
            frame = Dataset()
            frame.PlanePositionSequence = [_item(plane, "ImagePositionPatient")]
            frame.PixelValueTransformationSequence = [_item(plane, "RescaleSlope", "RescaleIntercept")]
            kind = Dataset()
            kind.FrameType = plane.ImageType
            frame.CTImageFrameTypeSequence = [kind]
            frames.append(frame)
        ds.PerFrameFunctionalGroupsSequence = Items(frames)
        return ds

    return merge


def _item(ds: Dataset, *names: str) -> Dataset:
    item = Dataset()
    for name in names:
        setattr(item, name, ds[name].value)
    return item
