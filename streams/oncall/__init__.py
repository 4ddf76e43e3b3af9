"""Running on-call: one order for all that happens, the fold of cases over it, and what comes of that."""
