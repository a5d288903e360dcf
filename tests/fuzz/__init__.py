"""Seeded mutations of all that fullconv is given, for the command line, in child processes.

A class of cases is a module with ``cases(seed, count)``, which yields a `Case` after the other,
the same ones for the same seed. `run` lists the classes, and counts what comes of them.
"""
