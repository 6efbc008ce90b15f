"""Reports from run folders: an HTML page, summary.json, static figures and tables. No model.

Names are imported when first used: words for a card need no Matplotlib.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosslatent.core.imports import lazily

if TYPE_CHECKING:
    from crosslatent.report.build import ReportPaths, build_report
    from crosslatent.report.maps import heatmap

__all__ = ["ReportPaths", "build_report", "heatmap"]

__getattr__, __dir__ = lazily(
    __name__, {"build": ("ReportPaths", "build_report"), "maps": ("heatmap",)}
)
