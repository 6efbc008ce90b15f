"""Reports from run folders: an HTML page, summary.json, static figures and tables. No model."""

from crosslatent.report.build import ReportPaths, build_report
from crosslatent.report.maps import heatmap

__all__ = ["ReportPaths", "build_report", "heatmap"]
