"""The verb: scan an image of any size with a converted network."""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Unpack

from fullconv.conversion.converted import FullyConvolutional
from fullconv.errors import ImageWarning, InputError
from fullconv.keywords import ScanOptions, check_keywords
from fullconv.scanning.engine import Engine
from fullconv.scanning.heatmap import Heatmap
from fullconv.scanning.job import Job
from fullconv.scanning.opening import open_image
from fullconv.scanning.options import Options, OutputOptions
from fullconv.scanning.output import scan_to
from fullconv.sources import Source
from fullconv.sources.given import ImageLike
from fullconv.system.files import check_local


def scan(
    fcn: FullyConvolutional,
    source: ImageLike,
    out: str | Path | None = None,
    *,
    resize: float = 1.0,
    engine: Engine | None = None,
    **options: Unpack[ScanOptions],
) -> Heatmap:
    """Score every window of an image, recording or volume of any size, in bounded memory.

    Parameters
    ----------
    fcn : FullyConvolutional
        The converted network.
    source : NDArray, str, Path or Source
        ``(H, W)`` or ``(H, W, C)`` of NumPy or zarr, an image file of any size, or what
        `open_source` opened. Of a network over one axis or three, a recording ``(L,)`` or
        ``(L, C)``, or a volume ``(D, H, W)`` or ``(D, H, W, C)``, as an array, a ``.npy`` file, or
        a zarr array.
    out : str or Path, optional
        ``.zarr``: a folder in the OME-Zarr 0.5 layout; ``.tif``: a GeoTIFF. In memory without it.
    classifier : optional
        The original classifier, as `convert` takes it, for the check at the end. Without it the
        converted network itself scores the crops, at its native size.
    origin : mapping, optional
        Where the model comes from ("model": a path or ``package.module:callable``, "weights"), to
        be kept for those who verify the heatmap later. By default the classifier's path.
    preprocessing : Preprocessing, optional
        Preparation of the pixels; by default the model's own.
    level, um_per_pixel, own_um_per_pixel, bands
        Which level or resolution of the image, and which of its bands, as `open_source` takes
        them. By default the resolution that the model's preprocessing names.
    resize : float
        Factor by which the image is resized first: 0.5 finds objects of twice the size.
    cover : {"whole", "all"}
        "whole": windows a step apart. "all": where the step leaves a rest, also windows flush with
        the border, as the last row and column of the heatmap (`Heatmap.windows`).
    roi : (x0, y0, x1, y1), optional
        In pixels of the original image: only windows that lie wholly inside are scored. Of a
        recording ``(t0, t1)``, of a volume ``(x0, y0, z0, x1, y1, z1)``.
    mask : array, path or Source, optional
        Any image with as many axes as the one that is scanned. It is laid over that by its
        georeference, its space or its resolution, and stretched over it where it has none. Only
        windows whose centre falls on a pixel that is not 0 are scored.
    output : int
        Number of the model's output, from 0.
    dtype : {"float32", "float16", "uint8"}
        How scores are stored; uint8 is for scores between 0 and 1.
    runtime : str
        "native" (the model's own framework), "torch", "onnxruntime", "openvino", or "auto": the
        fastest of those that are installed, by measurement.
    precision : {"f32", "bf16", "f16"}
        Number type of the computation. Less than f32 changes the scores; the check says by how
        much.
    device : str, optional
        "cpu" or "cuda"; by default where the model is.
    tile : tuple of int, optional
        Windows in a tile along every axis, (rows, columns); by default the fastest in a short
        measurement.
    memory_bytes : int, optional
        Budget for the tensors of the tiles that are computed at a time. By default 512 MB; where
        tiles have a halo (``exact=False`` of a network that pads) 1 GB, and in ONNX Runtime, which
        takes less than is estimated, 1.5 GB.
    windows_to_check : int
        Number of windows, spread over the image, that are computed again from crops at the end.
    resume : bool
        Continue an unfinished output of the same run; False starts again.
    overwrite : bool
        Replace a finished output.
    repair : bool
        Compute the lost scores of a finished output again.
    progress : callable, optional
        Called with a `Progress` after every tile.
    engine : Engine, optional
        ``Engine(fcn)``, which opens the network once for many images.

    Returns
    -------
    Heatmap
        Scores ``(K, rows, columns)``, or with as many axes of windows as the network has. They are
        NaN where nothing was scanned: outside of the region, and in windows that hold a NaN or
        infinite pixel.

    Raises
    ------
    ImageError
        If the image cannot be read, does not fit the model, or is smaller than a window.
    InputError
        If ``out`` is finished already and differs, or is unfinished and belongs to another run.
    DamagedError
        If ``out`` is finished already and has lost scores, or they have changed.
    OutputError
        If the heatmap cannot be written. Tiles that were written stay; the same call continues.

    Warns
    -----
    HeatmapWarning
        If tiles of an unfinished output were lost, and are computed again.
    ImageWarning
        If the image or the mask is unusual: pixels unlike the model's training data, for example,
        or a place on the ground that is not used.

    Notes
    -----
    The scores do not depend on the tiles. After the process was killed, the same call continues
    where it stopped (Note [An unfinished output]).
    """
    check_keywords("scan", ScanOptions, options)
    asked = Options.of({**options, "resize": resize})
    classifier, origin = options.get("classifier"), options.get("origin")
    progress = options.get("progress")
    place = None if out is None else check_local("scan(out=...)", out)
    if progress is not None and not callable(progress):
        raise InputError(
            f"scan(progress={progress!r}): expected a function, which is told a Progress after "
            f"every tile."
        )
    if engine is not None and getattr(engine, "fcn", None) is not fcn:
        raise InputError("scan(engine=...): it is another network's; make it by Engine(fcn).")
    if origin is None and isinstance(classifier, str | Path):
        origin = {"model": str(Path(classifier).absolute())}
    with ExitStack() as stack:
        image = open_image(fcn, source, asked)
        if not isinstance(source, Source):
            stack.callback(image.close)
        if engine is None:
            engine = stack.enter_context(Engine(fcn))
        job = Job(engine, image, asked, classifier, origin, progress)
        for line in (*image.facts.remarks, *job.region.remarks):
            warnings.warn(line, ImageWarning, stacklevel=2)
        if place is None:
            return job.in_memory()
        return scan_to(job, place, OutputOptions.of(options))
