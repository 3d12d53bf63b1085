"""A reader of the dashboard without a browser: one session of the server over its websocket.

What the server sends is kept as Streamlit's own messages; a widget is named by its key. Only the widget that was
touched is sent, the server remembers the others.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Self
from urllib.parse import parse_qs, urlencode

_PATIENCE_S = 180.0
_LARGEST = 512 << 20


class Session:
    """Open on a page; leaving it disconnects. `bytes_received` and `seconds` are of the last run of a page."""

    def __init__(self, url: str, page: str = "", **view: str | list[str]) -> None:
        self.url, self.page, self.query = url, page, urlencode(view, doseq=True)
        self.pages: dict[str, str] = {}  # name in the address → its hash
        self.id = ""
        self.elements: dict[tuple[int, ...], Any] = {}
        self.bytes_received, self.seconds, self.first_seconds = 0, 0.0, 0.0
        self._at = ""

    def __enter__(self) -> Self:
        from websockets.sync.client import connect

        address = self.url.replace("http", "ws", 1) + "/_stcore/stream"
        how: dict[str, Any] = {"subprotocols": ["streamlit"], "origin": self.url}
        with ExitStack() as stack:
            self._wire = stack.enter_context(
                connect(address, max_size=_LARGEST, compression=None, open_timeout=_PATIENCE_S, **how)
            )
            self._run(page_name=self.page)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def go(self, page: str) -> None:
        """Another page by its name in the address."""
        self._run(page_script_hash=self.pages[page], page_name=page)

    def rerun(self) -> None:
        """The same page again."""
        self._run()

    def choose(self, key: str, value: str | list[str] | bool) -> None:
        """Set a select box, a multi-select, a text field or a toggle."""
        kind = {str: "string_value", bool: "bool_value"}.get(type(value), "string_array_value")
        self._touch(key, kind, value)

    def press(self, key: str) -> None:
        """A button."""
        self._touch(key, "trigger_value", True)

    def widget(self, key: str) -> Any:
        """The widget of this key. KeyError where the page has none."""
        for element in self.elements.values():
            kind = element.WhichOneof("type")
            widget = getattr(element, kind) if kind else None
            if getattr(widget, "id", "").endswith(f"-{key}"):
                return widget
        raise KeyError(f"no widget {key!r} on the page")

    def has(self, key: str) -> bool:
        """Whether the page has a widget of this key."""
        try:
            self.widget(key)
        except KeyError:
            return False
        return True

    def view(self) -> dict[str, list[str]]:
        """What the address says."""
        return parse_qs(self.query)

    def of_kind(self, kind: str) -> list[Any]:
        """All elements of a kind, such as "exception", in the order of the page."""
        return [getattr(e, kind) for _, e in sorted(self.elements.items()) if e.WhichOneof("type") == kind]

    def words(self) -> str:
        """All that is written on the page."""
        return "\n".join(text for _, e in sorted(self.elements.items()) for text in _texts(e))

    def errors(self) -> list[str]:
        """Stack traces and error boxes."""
        said = [f"{e.type}: {e.message}" for e in self.of_kind("exception")]
        boxes = [a.body for a in self.of_kind("alert") if a.format == a.ERROR]
        return said + boxes

    def _touch(self, key: str, kind: str, value: Any) -> None:
        from streamlit.proto.WidgetStates_pb2 import WidgetState

        state = WidgetState(id=self.widget(key).id)
        if kind == "string_array_value":
            state.string_array_value.data.extend(value)
        else:
            setattr(state, kind, value)
        self._run(state)

    def _run(self, *touched: Any, **where: str) -> None:
        """One run of the script, until it has ended. RuntimeError where it does not."""
        from streamlit.proto.BackMsg_pb2 import BackMsg

        asked = BackMsg()
        asked.rerun_script.query_string = self.query
        asked.rerun_script.page_script_hash = where.get("page_script_hash", self._at)
        asked.rerun_script.page_name = where.get("page_name", "")
        asked.rerun_script.widget_states.widgets.extend(touched)
        asked.rerun_script.context_info.url = self.url
        self.bytes_received, self.first_seconds = 0, 0.0
        begun = time.perf_counter()
        self._wire.send(asked.SerializeToString())
        for message in self._messages(begun + _PATIENCE_S):
            if not self.first_seconds and message.WhichOneof("type") == "delta":
                self.first_seconds = time.perf_counter() - begun
            if self._take(message):
                break
        self.seconds = time.perf_counter() - begun

    def _messages(self, until: float) -> Iterator[Any]:
        from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

        while True:
            left = until - time.perf_counter()
            try:
                raw = self._wire.recv(timeout=max(left, 0.01))
            except TimeoutError:
                raise RuntimeError(f"page {self.page!r} did not end within {_PATIENCE_S:.0f} s") from None
            self.bytes_received += len(raw)
            message = ForwardMsg()
            message.ParseFromString(raw)
            yield message

    def _take(self, message: Any) -> bool:
        """Keep what it says; True at the end of the run. A run that the page asks for itself goes on."""
        kind = message.WhichOneof("type")
        if kind == "new_session":
            self.id = message.new_session.initialize.session_id or self.id
            self._at = message.new_session.page_script_hash
            if not message.metadata.run.fragment_ids:
                self.elements.clear()
        elif kind == "navigation":
            self.pages = {page.url_pathname: page.page_script_hash for page in message.navigation.app_pages}
            self._at = message.navigation.page_script_hash
        elif kind == "page_info_changed":
            self.query = message.page_info_changed.query_string
        elif kind == "delta":
            path = tuple(message.metadata.delta_path)
            if message.delta.WhichOneof("type") == "new_element":
                self.elements[path] = message.delta.new_element
        return kind == "script_finished" and message.script_finished in (
            message.FINISHED_SUCCESSFULLY,
            message.FINISHED_WITH_COMPILE_ERROR,
        )


def _texts(element: Any) -> Iterator[str]:
    kind = element.WhichOneof("type")
    if kind is None:
        return
    inner = getattr(element, kind)
    for field in ("body", "label", "value", "message"):
        text = getattr(inner, field, None)
        if isinstance(text, str) and text:
            yield text
