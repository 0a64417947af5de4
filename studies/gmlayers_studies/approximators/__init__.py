"""Functions and differential equations approximated at equal numbers of parameters and equal time.

These are the methods and challenges of ``gmlayers reproduce fit2d``, ``feynman`` and ``poisson``.

- ``targets`` has the functions and equations, ``problems`` poses them as challenges, with points to train and a judge.
- ``tasks`` says what a method is given and hands back: a task, a budget with a clock, and states.
- ``fitting``, ``nets``, ``losses``, ``equations`` and ``training`` have what the methods share.
- ``gmnm``, ``mlp``, ``kan`` (on ``splines``), ``rbf``, ``splats``, ``pig`` and ``chebyshev`` have one family each: a
  net and the methods that train it. A method is a frozen dataclass whose fields are its settings.
- ``methods`` lists the methods of every study with the settings that are tried.
"""
