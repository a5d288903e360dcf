"""Write docs/operations.md: which operations windows share, from the tables of rules and readers.

Run it with ``python docs/figures/operations.py`` (`make operations`); ``--check`` says whether the
page is what it would write. Who reads an operation is found in the code of the readers: the records
that a handler names, itself or by the functions of its framework that it calls.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import CodeType
from typing import Any

from fullconv import lift, operations  # noqa: F401 - the rules register
from fullconv.lift.registry import rules
from fullconv.operations import Operation

PAGE = Path(__file__).parents[1] / "operations.md"

HEAD = """\
# Operations: what windows share

Written by `make operations` from the tables of rules and readers; do not edit it by hand. A network
is read into the records below. Each has a rule, which says when neighbouring windows share it and
when the result is exact ([why that is a question](crops.md)); what has no rule runs window by
window, as it is, and the report names it. All are for one, two and three axes.
"""

WITHOUT = """\
## Without a rule

`Opaque` is any operator, layer or function that is not listed above, or is used in a way that its
record cannot say. It runs as it is, on one tensor per window: on many windows at once where a table
of its framework knows in which axis they may stand, else on each alone. `Random` is what draws
random numbers when the model is in use; such a model is refused, or converted with
`allow_random=True`, and nothing is then called exact.
"""


PLUMBING = frozenset(
    "add append rearrange opaque add_opaque map native alike along read_activation".split()
)
"""Methods of readers that name records for any node."""


def records(function: Callable[..., Any], reader: type, room: str) -> set[type[Operation]]:
    """Return the records that a handler names, itself or by what it calls in its framework.

    What a reader does with any of its nodes is left out, and the activation that a layer may hold.
    """
    found: set[type[Operation]] = set()
    seen: set[CodeType] = set()

    def visit(code: CodeType, names: Mapping[str, Any]) -> None:
        if code in seen:
            return
        seen.add(code)
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                visit(constant, names)
        for name in code.co_names:
            if name in PLUMBING:
                continue
            value = names.get(name, getattr(reader, name, None))
            if inspect.isclass(value) and issubclass(value, Operation):
                found.add(value)
            elif inspect.isfunction(value) and value.__module__.startswith(room):
                visit(value.__code__, value.__globals__)

    visit(function.__code__, function.__globals__)
    # What a handler cannot honour is opaque whatever it reads; nodes take any operation.
    return found - {Operation, operations.Opaque, operations.Random}


def readers() -> Iterator[tuple[str, dict[str, set[type[Operation]]]]]:
    """Yield every framework with its operators, and the records that each is read as."""
    yield "PyTorch", of_torch()
    yield "ONNX", of_onnx()
    yield "Keras", of_keras()


def of_torch() -> dict[str, set[type[Operation]]]:
    """Return ATen's operators, as ``torch.export`` leaves them."""
    from fullconv.frameworks.torch import aten, read, read_several  # noqa: F401 - register
    from fullconv.frameworks.torch.reader import Reader

    room = "fullconv.frameworks.torch"
    told = {name: records(f, Reader, room) for name, f in aten.handles.items()}
    told |= {name: {operations.Pointwise} for name in aten.POINTWISE}
    told |= {name: {operations.Identity} for name in aten.IDENTITY}
    told |= {name: {operations.Reshape} for name in aten.RESHAPE}
    told |= {name: {operations.AdaptivePool} for name in read_several.ADAPTIVE_MAX}
    told |= {name: {operations.Pool} for name in read_several.WITH_INDICES}
    told |= {name: {operations.Slice} for name in read_several.SPLITS}
    return told | {"local_response_norm": {operations.AlongAxis}}


def of_onnx() -> dict[str, set[type[Operation]]]:
    """Return the standard operators of ONNX."""
    from fullconv.frameworks.onnx import operators, read  # noqa: F401 - the readers register
    from fullconv.frameworks.onnx.reader import Reader

    room = "fullconv.frameworks.onnx"
    told = {name: records(f, Reader, room) for name, f in operators.handles.items()}
    return told | {name: {operations.Pointwise} for name in operators.POINTWISE}


def of_keras() -> dict[str, set[type[Operation]]]:
    """Return layers by their names, and operations by their functions in ``keras.ops``."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    from fullconv.frameworks.keras import read, tables  # noqa: F401 - the readers register
    from fullconv.frameworks.keras.reader import Reader

    room = "fullconv.frameworks.keras"
    told = {kind.__name__: records(f, Reader, room) for kind, f in tables.handles.items()}
    for name, handler in tables.handles_operation.items():
        told[f"ops.{name}"] = records(handler, Reader, room)
    return told | {f"ops.{name}": {operations.Pointwise} for name in tables.POINTWISE}


def page() -> str:
    """Return the page."""
    held = dict(readers())
    by_rule: dict[Any, list[type[Operation]]] = {}
    for kind, rule in rules().items():
        by_rule.setdefault(rule, []).append(kind)
    sections = [
        section(kinds, rule, held)
        for rule, kinds in sorted(by_rule.items(), key=lambda item: item[1][0].__name__)
    ]
    return "\n".join([HEAD, *sections, WITHOUT])


def section(
    kinds: Iterable[type[Operation]],
    rule: Callable[..., Any],
    held: Mapping[str, Mapping[str, set[type[Operation]]]],
) -> str:
    """Return what is said of the operations of one rule."""
    kinds = sorted(kinds, key=lambda kind: kind.__name__)
    lines = [f"## {', '.join(kind.__name__ for kind in kinds)}", ""]
    firsts = [" ".join((kind.__doc__ or "").split("\n\n")[0].split()) for kind in kinds]
    lines += [first.replace("``", "`") for first in firsts]
    lines += ["", paragraphs(inspect.getdoc(rule) or ""), ""]
    for framework, told in held.items():
        names = sorted(name for name, read in told.items() if read.intersection(kinds))
        said = ", ".join(f"`{name}`" for name in names) or "none of its own"
        lines.append(f"- {framework}: {said}")
    return "\n".join([*lines, ""])


def paragraphs(text: str) -> str:
    """Return a docstring as Markdown: the sentences on exactness stand out."""
    joined = "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))
    joined = joined.replace("``", "`")
    return re.sub(r"(?:(?<=^)|(?<=\. )|(?<=\n))(Exact\b|Ends sharing\b)", r"**\1**", joined)


def main() -> int:
    """Write the page, or say whether it is current."""
    text = page()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    return int(PAGE.read_text(encoding="utf-8") != text)


if __name__ == "__main__":
    sys.exit(main())
