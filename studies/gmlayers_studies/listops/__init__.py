"""Nested operations on lists of digits, and what attention makes of them."""
