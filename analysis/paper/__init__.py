"""Figures as pages of a paper: printing, points too many to be vectors, several panels on one page."""
