"""Rooms of `analysis.survival`: who takes part, the risk score, its measures, curves, Cox models, words."""
