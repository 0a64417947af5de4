"""Forecasting of series: how they are read, models with exchangeable heads, scores, and the command."""
