"""A converted model: the network over all windows, with what one must know to use it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fullconv.choices import Activation
from fullconv.conversion.embedded import KEY, Embedded
from fullconv.conversion.report import Report
from fullconv.errors import InputError
from fullconv.frameworks import Framework
from fullconv.geometry.grid import Grid, Halo, no_halo
from fullconv.geometry.images import ImageShape
from fullconv.geometry.tiling import Plan, Tile, first_windows
from fullconv.lift.memory import Footprint, Size, elements
from fullconv.preprocessing import Preprocessing
from fullconv.system.files import check_local

if TYPE_CHECKING:
    from fullconv.verification.probing import Probe

CALL_BUDGET_BYTES = 1 << 30
"""The bytes that the tensors of one tile of windows may take."""

CACHE_BYTES = 1 << 24
"""The bytes for a tile where windows share little: small tiles fit the caches, and cost little."""

AGAIN = 1.1
"""The factor by which such tiles may need more multiply-accumulates than a single one."""

CROPS_BYTES = 1 << 22
"""The least bytes for a tile where windows share nothing. Smaller tiles would cost only more calls,
but memory that a framework asks for anew in every run takes longer."""


class FullyConvolutional:
    """A window classifier that answers for every window of an image at once.

    Attributes
    ----------
    model
        The converted model in its own framework: a ``torch.nn.Module`` or ``keras.Model`` to
        fine-tune, or an ``onnx.ModelProto``. Its parameters share the original's storage (PyTorch).
    grid : Grid
        Window and step.
    report : Report
        Whether it is exact, and what became of each layer.
    classes : tuple of str
        Class names, where they are known.
    background : str or None
        The class that is none of what is looked for, where one is known.
    preprocessing : Preprocessing or None
        What must be done to pixels first; None where nothing says. Calling the converted model
        does not apply it: it takes what the classifier took.
    embedded : Embedded
        The preprocessing and activation inside the converted model; `preprocessing` then holds the
        steps that are left to do.
    footprint : Footprint
        The elements that a run holds at once, for any number of windows.
    products : Size or None
        The multiply-accumulates of a run, for any number of windows; None where nothing says.
    probe : Probe or None
        What the probe at its conversion has shown; None where there was none.
    halo : Halo
        Pixels beyond its window that a score may depend on; none in the exact form.
    """

    def __init__(
        self,
        model: Any,
        shape: ImageShape,
        report: Report,
        framework: Framework,
        *,
        classes: Sequence[str] = (),
        background: str | None = None,
        preprocessing: Preprocessing | None = None,
        embedded: Embedded | None = None,
        footprint: Footprint = (),
        products: Size | None = None,
        halo: Halo = (),
        in_onnx: Callable[[], FullyConvolutional | None] | None = None,
    ) -> None:
        self.model = model
        self.shape = shape
        self.report = report
        self.framework = framework
        self.classes = tuple(classes)
        self.background = background
        self.preprocessing = preprocessing
        self.embedded = embedded or Embedded()
        self.footprint = footprint
        self.products = products
        self.halo = halo or no_halo(shape.grid.dimensions)
        self.probe: Probe | None = None
        self._in_onnx = in_onnx
        self._run: Callable[[Any], Any] | None = None

    @property
    def grid(self) -> Grid:
        """Window and step."""
        return self.shape.grid

    def activation(self, output: int = 0) -> Activation:
        """Return the activation behind an output, the classifier's own or an added one; or none."""
        own = self.report.activations[output : output + 1]
        return self.embedded.activation if self.embedded.activation != "none" else (*own, "none")[0]

    def __repr__(self) -> str:
        kind = "exact" if self.report.exact else "approximate"
        return f"FullyConvolutional({self.framework.name}, {self.grid!r}, {kind})"

    def idle(self) -> None:
        """Let go of what runs the model, and the memory that it takes, until it is called again."""
        self._run = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what is copied and pickled: not what runs the model, or writes it again."""
        return {**self.__dict__, "_in_onnx": None, "_run": None}

    def __call__(self, images: Any) -> Any:
        """Score every window of some images.

        Parameters
        ----------
        images : torch.Tensor, numpy.ndarray or tensor of Keras' backend
            ``(N, C, H, W)``, or ``(N, H, W, C)`` where the model takes its channels last; at least
            as large as the window.

        Returns
        -------
        torch.Tensor, numpy.ndarray or tensor of Keras' backend
            ``(N, K, rows, columns)``, or ``(N, rows, columns, K)`` where the channels come last;
            several outputs in the structure the model returns them in.

        Raises
        ------
        ImageError
            If the images have another rank or number of channels, or are smaller than the window.

        Notes
        -----
        The windows are taken in tiles that keep the tensors within `CALL_BUDGET_BYTES`, or where
        windows share so little that smaller tiles compute hardly more, within `CACHE_BYTES`, or
        in fewer where they share nothing; the scores do not depend on the tiles, which the
        approximate form reads with their halo.
        """
        images = self.framework.inward(self.model, images)
        images = self.shape.as_map(self.framework.check(images, self.shape))
        self.embedded.check_pixels("fcn(images)", images.dtype)
        return self.framework.outward(self.model, self.scores(images))

    def scores(self, images: Any) -> Any:
        """Score images that are checked, ``(N, C, *size)`` whatever the model itself takes.

        Returns what calling the network does, as ``(N, K, *windows)``.
        """
        self.grid.shape(images.shape[2:])
        self.shape.check_size(images.shape[2:])
        if self._run is None:
            self._run = self.framework.runner(self.model, self._run_bytes)
        plan, limit = self._plan(images)
        if plan is None:
            return self._run(self.shape.from_map(images))
        if len(plan) > 1:
            each = [self._run_tiles(images[n : n + 1], plan) for n in range(len(images))]
        else:
            many = max(1, limit // max(1, self._run_bytes(images[:1])))
            groups = [images[n : n + many] for n in range(0, len(images), many)]
            each = [self._run(self.shape.from_map(group)) for group in groups]
        return self._join(each, 0)

    def _plan(self, images: Any) -> tuple[Plan | None, int]:
        """Return the tiles of each image and the bytes that they may take; None for one run."""
        needed, itemsize = self._run_bytes(images), _itemsize(images)
        size = tuple(int(length) for length in images.shape[2:])
        for limit, again in self._in_cache(images, size, itemsize):
            if needed > limit and self.products is not None:
                most = limit // itemsize
                plan = Plan.in_cache(size, self.grid, self.footprint, self.products, most, again)
                if plan is not None:
                    return plan, limit
        if needed <= CALL_BUDGET_BYTES:
            return None, CALL_BUDGET_BYTES
        limit = CALL_BUDGET_BYTES // itemsize
        return Plan.within(size, self.grid, self.halo, self.footprint, limit), CALL_BUDGET_BYTES

    def _in_cache(
        self, images: Any, size: Sequence[int], itemsize: int
    ) -> tuple[tuple[int, float], ...]:
        """Return what smaller tiles may take, and how much more they may compute, if any pay."""
        if self.report.one_pass or any(map(any, self.halo)):
            return ()
        if not self.framework.computes_in_cache(self.model, images):
            return ()
        some = first_windows(self.grid.shape(size), self.framework.crops_at_once)
        crops = max(CROPS_BYTES, itemsize * elements(self.footprint, some))
        return (min(crops, CACHE_BYTES), 1.0), (CACHE_BYTES, AGAIN)

    def _run_bytes(self, images: Any) -> int:
        """Estimate the bytes of tensors that are held at once for some images."""
        size = images.shape[len(images.shape) - self.grid.dimensions :]
        numbers = elements(self.footprint, self.grid.shape(size))
        return int(images.shape[0]) * numbers * _itemsize(images)

    def _run_tiles(self, image: Any, plan: Plan) -> Any:
        """Score one image tile by tile."""
        assert self._run is not None
        scores = []
        for tile in plan:
            pixels = image[(slice(None), slice(None), *tile.slices)]
            scores.append(self._cut(self._run(self.shape.from_map(pixels)), tile))
        for axis, many in enumerate(reversed(plan.tiles), start=1):
            scores = [
                self._join(scores[first : first + many], -axis)
                for first in range(0, len(scores), many)
            ]
        return scores[0]

    def _cut(self, result: Any, tile: Tile) -> Any:
        """Drop the scores of the windows in a tile's halo."""
        return _map(lambda scores: scores[(..., *tile.own)], [result])

    def _join(self, results: Sequence[Any], axis: int) -> Any:
        """Concatenate results, inside whatever structure the model returns."""
        return _map(lambda *arrays: self.framework.join(arrays, axis), results)

    def save(self, path: str | Path) -> None:
        """Write the converted model with everything one must know to use it.

        Parameters
        ----------
        path : str or Path
            ``.onnx``, ``.pt2`` for PyTorch, or ``.keras`` for Keras. Window, step, exactness, class
            names and preprocessing travel inside the file.

        Raises
        ------
        OutputError
            If the file cannot be written; nothing is left half-written.
        ExportError
            If the converted model has no such file form.
        """
        path = check_local("save(path)", path)
        if path.suffix not in (".onnx", ".pt2", ".keras"):
            raise InputError(
                f"save({str(path)!r}): the kind of file is own by its ending; use .onnx, .pt2 for "
                f"PyTorch, or .keras for Keras."
            )
        form = self.as_saved(path)
        form.framework.save(form.model, form.shape, path, form._metadata())

    def as_saved(self, path: str | Path) -> FullyConvolutional:
        """Return the form of this network that a file holds, by its ending; mostly itself.

        Where windows share little, it depends on the framework whether parts of windows take less
        time than windows one by one. An ``.onnx`` has what ONNX Runtime is faster with. A network
        whose weights or layers were changed since its conversion is written as it is.
        """
        if Path(path).suffix != ".onnx" or self._in_onnx is None:
            return self
        other = self._in_onnx()
        if other is None or not self.framework.alike(self.model, other.model, self.shape):
            return self
        own, form = self.report, copy(self)
        form.model = other.model
        form.report = replace(other.report, check=own.check, warnings=own.warnings)
        form.footprint, form.products = other.footprint, other.products
        return form

    def _metadata(self) -> dict[str, str]:
        from fullconv import __version__

        metadata = {
            "fullconv.version": __version__,
            "fullconv.report": json.dumps(self.report.as_dict()),
            "fullconv.window": json.dumps(self.grid.window),
            "fullconv.step": json.dumps(self.grid.step),
            "fullconv.channels": json.dumps(self.shape.channels),
            "fullconv.takes": json.dumps(self.shape.takes),
            "fullconv.fixed": json.dumps(self.shape.fixed),
            "fullconv.footprint": json.dumps(self.footprint),
            "fullconv.products": json.dumps(self.products),
            "fullconv.halo": json.dumps(self.halo),
            "fullconv.classes": json.dumps(self.classes),
        }
        if self.background is not None:
            metadata["fullconv.background"] = self.background
        if self.preprocessing is not None:
            metadata["fullconv.preprocessing"] = self.preprocessing.to_json()
        if self.embedded:
            metadata[KEY] = self.embedded.to_json()
        return metadata


def _itemsize(images: Any) -> int:
    """Return the bytes of a number that a network computes with; of bytes it makes float32."""
    is_whole = "int" in str(images.dtype) or "bool" in str(images.dtype)
    return 4 if is_whole else int(images.dtype.itemsize)


def _map(function: Callable[..., Any], results: Sequence[Any]) -> Any:
    """Apply a function to corresponding arrays, inside whatever structure the model returns."""
    first = results[0]
    if isinstance(first, Mapping):
        return {key: _map(function, [result[key] for result in results]) for key in first}
    if isinstance(first, tuple | list):
        items = [_map(function, list(parts)) for parts in zip(*results, strict=True)]
        return type(first)(*items) if hasattr(first, "_fields") else type(first)(items)
    return function(*results)
