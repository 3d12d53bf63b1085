"""A whole study as one report: `study` (what is asked), `sections` (asking it), `page` (HTML and PDF)."""
