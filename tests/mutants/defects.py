"""The defects. Each is a small slip as one makes it: a sign, an end of a range, a forgotten case.

A defect is looked for in its room, a folder or file of the package, where its text must stand
exactly once, wherever it has been moved to. Where it no longer stands, `run` and the tests say so:
plant the same slip in what took its place.
"""

from __future__ import annotations

from mutants.finding import FINDING
from mutants.images import IMAGES
from mutants.lifting import LIFTING
from mutants.planning import PLANNING
from mutants.proving import PROVING
from mutants.reading import READING
from mutants.scanning import SCANNING

DEFECTS = (*LIFTING, *PLANNING, *READING, *SCANNING, *PROVING, *IMAGES, *FINDING)
