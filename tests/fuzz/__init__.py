"""Bad input without end: seeded mutations of what users give to fullconv.

Each module of cases has a function ``cases(seed)``, which yields `Case` after `Case` for ever, the
same for the same seed. `running` gives them to the command line in child processes, with limits of
memory and time, and says what became of each.
"""

from fuzz.case import Case

__all__ = ["Case"]
