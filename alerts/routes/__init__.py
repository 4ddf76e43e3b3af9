"""Routes: who is told of an alert, in what order, and who that is at a given time. Ids only, but for the directory."""
