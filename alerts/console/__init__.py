"""The console: one page on which on-call staff see the city, its alerts and its cases, and answer them."""
