"""Encoders: what turns a CT volume, or a region of it, into an embedding. `registry` names them all."""
