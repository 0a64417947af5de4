"""Studies of nets that are trained on data sets."""
