"""Functions and differential equations approximated at equal numbers of parameters and equal time.

The methods and problems of ``gmlayers reproduce fit2d``, ``feynman`` and ``poisson``: ``targets`` says what is to be
approximated, ``methods`` by what.
"""
