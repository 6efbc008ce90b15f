"""The figures of a run's report: each file is one registered function."""
