"""Drawing of synthetic chest CT: one file an organ system, all on one `Canvas`."""
