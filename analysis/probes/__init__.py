"""Rooms of `analysis.probe`: who takes part, learners, metrics, nested folds, intervals, words."""
