"""Forecasting with exchangeable heads, cells and attention."""
