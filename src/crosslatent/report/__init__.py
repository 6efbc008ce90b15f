"""Reports from run folders: an HTML page, summary.json, static figures and tables. No model.

Names are imported when first used: words for a card need no Matplotlib.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crosslatent.report.build import ReportPaths, build_report
    from crosslatent.report.maps import heatmap

__all__ = ["ReportPaths", "build_report", "heatmap"]

_HOMES = {"ReportPaths": "build", "build_report": "build", "heatmap": "maps"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
