"""A CT that is in no store: choose files, read them safely, embed them as the store's rows were."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from app import uploads
from app.components.plain_text import literal
from app.loaders import cases
from flexict_core.errors import FlexictError

if TYPE_CHECKING:
    import numpy as np

    from analysis.cohort import Cohort
    from app.uploads import UploadedCt


def choose_upload() -> UploadedCt | None:
    """The uploaded CT; None, with what to do, where there is none yet or it cannot be read."""
    turn = st.session_state.get("_upload-round", 0)
    first, second = st.columns([3, 2])
    with first:
        ct = st.file_uploader(
            "CT volume, or a zip of DICOM",
            type=[t.removeprefix(".") for t in ("nii", "gz", "nrrd", "mha", "zip")],
            max_upload_size=uploads.MOST_MB,
            key=f"upload-ct-{turn}",
            help="One volume in HU (.nii, .nii.gz, .nrrd, .mha), or a .zip of one DICOM series",
        )
    with second:
        mask = st.file_uploader(
            "Mask of the tumour (optional)",
            type=["nii", "gz", "nrrd", "mha"],
            max_upload_size=uploads.MOST_MB,
            key=f"upload-mask-{turn}",
            help="A label map on the CT's voxels; all values above 0 are the tumour",
        )
    st.caption(
        f":material/lock: Up to {uploads.MOST_MB} MB. Read on this machine into this session's memory; the file is off "
        "the disk once it is read, and all of it is gone when the session ends or you remove it."
    )
    if ct is None:
        st.session_state.pop("_upload", None)
        return None
    key = uploads.digest(ct, mask)
    held: UploadedCt | None = st.session_state.get("_upload")
    if held is None or held.sha256 != key:
        try:
            with st.spinner(f"Reading {literal(ct.name)} …"):
                held = uploads.read_upload(ct, mask)
        except FlexictError as error:
            st.session_state.pop("_upload", None)
            st.error(literal(error), icon=":material/error:")
            return None
        st.session_state["_upload"] = held
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        st.button(
            "Remove this CT",
            icon=":material/delete:",
            on_click=cases.forget_upload,
            key="upload-remove",
        )
        drawn = "without a mask" if held.case.mask is None else "with a mask"
        st.markdown(f"**{literal(held.name)}** · {drawn} · in no store", width="content")
    return held


def embed_upload(cohort: Cohort, upload: UploadedCt) -> np.ndarray | None:
    """Its vector in the chosen embedding, or None and why there is none. Says where it is not comparable."""
    try:
        vector = cases.upload_vector(cohort, upload)
    except FlexictError as error:
        name = literal(cohort.encoder or cohort.embedding_id)
        st.info(
            f"The CT is shown, but cannot be compared with this cohort: {literal(error)} (encoder {name}).",
            icon=":material/link_off:",
        )
        return None
    if upload.case.mask is None and (cohort.rows["mask"].astype(str) != "").any():
        spec = cases.specification(cohort)
        if spec.get("recipe") == "native":
            st.warning(
                "The store's cases were described within their tumour masks, this CT without one as a whole body: its "
                "neighbours mean little. Upload its mask too.",
                icon=":material/warning:",
            )
    return vector
