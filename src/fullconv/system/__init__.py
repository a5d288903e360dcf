"""What one operating system does and another does not, each behind a function of ours.

Note [Ways on other systems]

====================================  ========================================================
Linux and macOS                       elsewhere
====================================  ========================================================
``os.pread``                          `reading`: one thread at a time seeks and reads
``fcntl.flock``                       `locking`: ``msvcrt.locking`` on Windows; a file that names
                                      its owner, where neither is there or the disk has no locks
``fsync`` of a file opened to read    `disk`: opened to write, which Windows demands
``fsync`` of a folder (Linux)         `disk`: nothing; Windows opens no folders
a file that is open is replaced       `disk`: tried again for a second, while another lets it go
two folders change places in one      `exchanging`: says that it cannot, and they are moved one
step                                  after the other
``os.sched_getaffinity`` (Linux)      `processor`: all cores
``kill(pid, 0)``                      `locking`: an owner counts as alive
====================================  ========================================================

What is taken from here works on all of them; nothing else in the package calls what is listed.
`tests/as_on_windows.py` takes these calls away, and the verbs run without them.
"""

from __future__ import annotations
