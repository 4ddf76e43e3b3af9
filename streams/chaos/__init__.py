"""Faults upon a pipeline at work: the plan, what each fault does, and the report; `kapok chaos` runs it."""
