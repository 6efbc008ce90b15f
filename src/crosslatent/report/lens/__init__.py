"""Figures and pages of Lens: probes, training curves, evaluations. No model is needed."""

from crosslatent.report.lens.evaluation import write_evaluation_report
from crosslatent.report.lens.probe import write_probe_report
from crosslatent.report.lens.training import write_training_figures

__all__ = ["write_evaluation_report", "write_probe_report", "write_training_figures"]
