"""How a headless Chromium is started, by tests and benchmarks alike."""

from __future__ import annotations

FLAGS = (
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-angle=swiftshader",  # WebGL on the processor, where there is no graphics card
    "--enable-unsafe-swiftshader",
)
