"""Differences between operating systems, each behind a function of this package.

Note [Ways on other systems]

====================================  ========================================================
Linux and macOS                       elsewhere
====================================  ========================================================
``os.pread``                          `reading`: one thread at a time seeks and reads
``fcntl.flock``                       `locking`: ``msvcrt.locking`` on Windows; a file that names
                                      its owner, where there is neither or the disk has no locks
``fsync`` of a file opened to read    `disk`: the file is opened to write, as Windows demands
``fsync`` of a folder (Linux)         `disk`: nothing; Windows does not open folders
an open file is replaced              `disk`: retried for a second, until the other program
                                      closes the file
two folders change places in one      `exchanging`: returns False, and the caller moves one after
step                                  the other
``os.sched_getaffinity`` (Linux)      `processor`: all cores
``kill(pid, 0)``                      `locking`: the owner counts as alive
====================================  ========================================================

These functions work on every system; no other module of fullconv makes the calls in the table.
`tests/as_on_windows.py` removes these calls, and the verbs run without them.
"""

from __future__ import annotations
