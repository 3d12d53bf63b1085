"""A headless Chrome or Chromium that turns figures into PDF, SVG, PNG, and reports into PDF; started once for many."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Coroutine
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any

from flexict_core.errors import FigureExportError

if TYPE_CHECKING:
    import plotly.graph_objects as go

_current: ContextVar[FigureBrowser | None] = ContextVar("figure_browser", default=None)
_SECONDS = 120.0  # for one figure; a start takes 2
REMEDY = "install Chromium (apt install chromium, or kaleido_get_chrome) or set BROWSER_PATH to a Chrome"


class FigureBrowser:
    """Context manager: while it is open, every export in the same thread uses this one browser.

    The browser runs in a thread of its own, so exports work inside a running event loop (notebooks, pages).
    Raises FigureExportError where there is no browser, or where it dies or does not answer.
    """

    def __enter__(self) -> FigureBrowser:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="figure-browser", daemon=True)
        self._thread.start()
        try:
            self._kaleido = self._run(self._start())
        except BaseException:
            self._stop_loop()
            raise
        self._token: Token[FigureBrowser | None] = _current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)
        try:
            self._run(self._kaleido.close())
        finally:
            self._stop_loop()

    def image(
        self, fig: go.Figure, kind: str, *, width_px: float, height_px: float, scale: float = 1.0
    ) -> bytes:
        """The figure as "pdf", "svg" or "png"; `scale` multiplies the pixels of a bitmap."""
        options = {"format": kind, "width": width_px, "height": height_px, "scale": scale}
        data = self._run(self._kaleido.calc_fig(fig, options))
        if not data:
            raise FigureExportError(f"the browser returned an empty {kind}: {REMEDY}")
        return bytes(data)

    def printed(self, html: str) -> bytes:
        """A page that needs no other file as PDF, at the size its style asks for, tagged and with an outline."""
        return bytes(self._run(self._print(html)))

    async def _print(self, html: str) -> bytes:
        tab = await self._kaleido.create_tab()
        try:
            await self._answer(tab, "Page.enable")
            frame = await self._answer(tab, "Page.getFrameTree")
            where = frame["frameTree"]["frame"]["id"]
            await self._answer(tab, "Page.setDocumentContent", frameId=where, html=html)
            options = {"printBackground": True, "preferCSSPageSize": True}
            options |= {"generateTaggedPDF": True, "generateDocumentOutline": True}
            page = await self._answer(tab, "Page.printToPDF", **options)
            return base64.b64decode(page["data"])
        finally:
            await self._kaleido.close_tab(tab.target_id)

    async def _answer(self, tab: Any, command: str, **parameters: Any) -> dict[str, Any]:
        answer = await tab.send_command(command, params=parameters)
        if "error" in answer:
            raise RuntimeError(f"{command}: {answer['error'].get('message')}")
        return dict(answer["result"])

    async def _start(self) -> Any:
        from kaleido import Kaleido, PageGenerator

        page = PageGenerator(mathjax=False)  # it would come from the network, and no label uses it
        # kaleido prints with margins of 0.1 inch and shrinks the figure to fit: a 6 pt text would be 5.7 pt
        page.header += "<style>@page { margin: 0 }</style>\n"
        return await Kaleido(n=1, timeout=_SECONDS, page_generator=page)

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result(_SECONDS)
        except Exception as error:  # the browser's library raises many types; all mean: no picture
            reason = str(error).split("\n")[0] or type(error).__name__
            raise FigureExportError(
                f"no Chrome or Chromium could draw the figure ({reason}): {REMEDY}"
            ) from error

    def _stop_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()


def current_browser() -> FigureBrowser | None:
    """The browser that is open in this thread, if any."""
    return _current.get()
