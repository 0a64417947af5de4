"""Comparisons and reproductions made with gmlayers: `gmlayers reproduce NAME`, `plot` and `archive`."""
