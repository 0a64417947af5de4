"""Data, training, records and figures; needs the extra ``experiments``."""
