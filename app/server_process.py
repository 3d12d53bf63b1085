"""The process of the dashboard: Streamlit, and beside it a thread that makes ready what a first reader waits for.

`flexict app` becomes `python -m app.server_process run …`.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import nullcontext, suppress
from importlib import import_module

from app import state
from flexict_core.errors import FlexictError

_USED_BY_FIRST_VIEWS = (
    "plotly.graph_objects",
    "sklearn.decomposition",
    "skimage.measure",
    "nibabel",
    "PIL.ImageDraw",
    "analysis.gallery",
    "analysis.match_reasons",
    "analysis.plots.enlarged",
    "analysis.plots.on_dark",
    "analysis.plots.projection",
    "choreographer.browsers.chromium",
)
_POLL_S = 0.05
_MOST_DRAWN = 5000  # points; more are drawn by the browser


def warm_up(config: state.AppConfig) -> None:
    """Import what the pages import late, read the cohort, begin its map, draw it once, read one CT.

    Readers who come meanwhile wait for these very pieces of work, and make none twice.
    """
    for name in _USED_BY_FIRST_VIEWS:
        import_module(name)
    from analysis.plots.projection import projection_map
    from app import jobs, loaders
    from app.components.figures import FACTOR
    from app.loaders.ahead import cohort_ahead, projection_ahead

    cohort = cohort_ahead(config)
    if cohort is None:
        return
    projection_ahead(cohort, config)
    row = next(cohort.rows.itertuples(index=False))
    with suppress(FlexictError):  # embeddings without images are a cohort too
        loaders.ct_case(row, waiting=nullcontext())
    question = loaders.question("project", cohort, "pca")
    while jobs.shelf().running(question):
        time.sleep(_POLL_S)
    if jobs.has(question) and cohort.n <= _MOST_DRAWN:
        from analysis.plots.enlarged import for_screen

        for_screen(projection_map(jobs.shelf().answer(question)), FACTOR)


def _beside_the_server() -> None:
    """Wait until the server runs: it must answer first of all."""
    from streamlit import runtime

    while not runtime.exists():
        time.sleep(_POLL_S)
    try:
        warm_up(state.AppConfig.from_environment())
    except FlexictError:
        pass  # the page says it, in its place
    except Exception:
        logging.getLogger("flexict").exception("nothing was made ready")


def main() -> None:
    """Serve until Ctrl-C."""
    from streamlit.web.cli import main as streamlit

    threading.Thread(target=_beside_the_server, name="flexict warm-up", daemon=True).start()
    streamlit(prog_name="streamlit")


if __name__ == "__main__":
    main()
