"""The parts of the stage gradient; `analysis.stage_gradient` puts them together."""
