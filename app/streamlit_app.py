"""The dashboard's router: navigation, what all pages share, and messages in place of stack traces."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import streamlit as st

from app import jobs, loaders, state
from app.components.banner import show_banner
from app.components.figures import is_dark
from app.components.plain_text import literal
from app.components.sidebar import show_sidebar
from flexict_core.errors import FlexictError, StoreError

if TYPE_CHECKING:
    from PIL.Image import Image

PAGES = (
    ("cohort", "Cohort", ":material/groups:"),
    ("map", "Map", ":material/scatter_plot:"),
    ("case", "Case", ":material/radiology:"),
    ("retrieval", "Retrieval", ":material/image_search:"),
    ("stage_gradient", "Stage gradient", ":material/stairs:"),
    ("trajectory", "Trajectory", ":material/timeline:"),
    ("probes", "Probes", ":material/network_node:"),
    ("survival", "Survival", ":material/monitor_heart:"),
    ("audit", "Audit", ":material/fact_check:"),
    ("export", "Export", ":material/download:"),
)
_STYLE = """<style>
.stMainBlockContainer {padding: 1.8rem 2.2rem 3rem; max-width: 1720px}
.st-key-banner {border-bottom: 1px solid rgba(128, 128, 128, .35); padding-bottom: .4rem; row-gap: .1rem}
[data-testid="stCaptionContainer"] {color: inherit; opacity: .85}  /* Streamlit's own grey is too faint to be read */
</style>"""
_STYLE_DARK = """<style>  /* the dark theme's blue carries white text; as text it is too dark itself */
[data-variant="segmented_control"][data-selected="true"] p, [role="tab"][aria-selected="true"] p,
[data-testid="stSliderThumbValue"] p {color: #8EC7F5}
</style>"""


def main() -> None:
    """Draw the page that the address names."""
    st.set_page_config(
        page_title="FlexiCT Atlas", page_icon=_icon(), layout="wide", initial_sidebar_state=250
    )
    st.html(_STYLE + _STYLE_DARK if is_dark() else _STYLE)
    page = st.navigation(
        [st.Page(f"app_pages/{name}.py", title=title, icon=icon) for name, title, icon in PAGES]
    )
    try:
        state.read_url()
        config = state.AppConfig.from_environment()
        show_sidebar(config)
        _show_frame(config)
        page.run()
    except jobs.StoppedError:
        st.info("Cancelled. Press Run to ask again.", icon=":material/cancel:")
    except FlexictError as error:
        st.error(literal(error), icon=":material/error:")
        st.caption("Nothing was lost. Change the input as said above, or choose another page or filter.")
    except Exception:
        logging.getLogger("flexict").exception("page %s failed", page.title)
        st.error("This page met an error of its own.", icon=":material/bug_report:")
        st.caption(
            "The details stand in the terminal where `flexict app` runs; the other pages go on working."
        )
    state.write_url()


def _icon() -> Image:
    """Four rising steps; drawn here, for Streamlit would fetch a tab's icon of its own from the network."""
    from PIL import Image, ImageDraw

    icon = Image.new("RGBA", (64, 64))
    for step, colour in enumerate(("#8FD744", "#35B779", "#31688E", "#440154")):
        ImageDraw.Draw(icon).rectangle((4 + 15 * step, 48 - 14 * step, 15 + 15 * step, 60), fill=colour)
    return icon


def _show_frame(config: state.AppConfig) -> None:
    try:
        cohort, total = loaders.current_cohort(config), loaders.whole_cohort(config).n
    except StoreError:
        show_banner(None)
        return
    show_banner(cohort, total=total)


main()
