"""Every file that is made from the code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from docs.tools.alerts_page import alerts_page
from docs.tools.columns_page import columns_page
from docs.tools.commands_page import commands_page
from docs.tools.conditions_page import conditions_page
from docs.tools.faults_page import faults_page
from docs.tools.gap_reasons_page import gap_reasons_page
from docs.tools.http_page import http_page
from docs.tools.metrics_page import metrics_page
from docs.tools.settings_page import env_example, settings_page
from docs.tools.words_module import words_module

ROOT: Final = Path(__file__).parents[2]

PAGES: Final[Mapping[str, Callable[[], str]]] = {
    ".env.example": env_example,
    "docs/alerts.md": alerts_page,
    "docs/columns.md": columns_page,
    "docs/commands.md": commands_page,
    "docs/conditions.md": conditions_page,
    "docs/faults.md": faults_page,
    "docs/gap-reasons.md": gap_reasons_page,
    "docs/http-routes.md": http_page,
    "docs/metrics.md": metrics_page,
    "docs/settings.md": settings_page,
    "greeks_trio/page/lib/words.js": words_module,
}


def write_pages() -> list[Path]:
    """Write the files, and return those that differ from before."""
    changed = []
    for name, make in PAGES.items():
        path, text = ROOT / name, make()
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
            changed.append(path)
    return changed
