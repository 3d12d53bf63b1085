"""What spreads the rows of a run over processes or machines: `local` (this machine) and `ray_data` (a Ray cluster).

An engine takes the tasks of each row and gives back finished outcomes, each once, in any order: embedded, same,
moved or failed. Neither touches the store: `embed_run` writes what either brings.
"""
