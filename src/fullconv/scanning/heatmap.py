"""A heatmap on disk: scores per window, and where in the image they lie."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fullconv.errors import FullconvError, ImageError, InputError, first_line
from fullconv.geometry import Grid, Pair
from fullconv.judging import Verification

if TYPE_CHECKING:
    import zarr

LEVELS = 254
"""A score between 0 and 1 is stored in uint8 as the nearest of so many steps."""

NOT_SCANNED = 255
"""What uint8 has in place of NaN."""


class Heatmap:
    """The scores of every window of an image, larger than memory if need be.

    Attributes
    ----------
    path : Path or None
        Where it lies; None in memory.
    grid : Grid
        Window and step, in pixels of the image that was scanned.
    classes : tuple of str
        Names of the scores, where the model has them.
    metadata : dict
        Versions, model, image, preprocessing and all else that the scan depended on.
    """

    def __init__(self, array: Any, metadata: Mapping[str, Any], path: Path | None) -> None:
        self.array = array
        self.metadata = dict(metadata)
        self.path = path
        self.grid = Grid(tuple(metadata["window"]), tuple(metadata["step"]))
        self.classes = tuple(metadata["classes"])

    @classmethod
    def open(cls, path: str | Path) -> Heatmap:
        """Open a finished heatmap that a scan has written.

        Raises
        ------
        InputError
            If there is none at the path, or it is broken.
        """
        path = Path(path)
        if path.suffix.lower() in (".tif", ".tiff"):
            from fullconv.scanning.geotiff import open_geotiff

            array, metadata = open_geotiff(path)
            return cls(array, metadata, path)
        import zarr

        try:
            group = zarr.open_group(path, mode="r")
            return cls(group["0"], dict(group.attrs)["fullconv"], path)  # type: ignore[arg-type]
        except FullconvError:
            raise
        except Exception as error:
            raise InputError(
                f"{path} is not a heatmap that fullconv has finished "
                f"({type(error).__name__}: {first_line(error)}); give the folder that "
                f"'fullconv scan -o' named."
            ) from None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Classes, rows and columns of windows."""
        classes, rows, columns = self.array.shape
        return classes, rows, columns

    @property
    def verification(self) -> Verification | None:
        """The comparison with crops at the end of the scan; None where none was wanted."""
        held = self.metadata.get("verification")
        if held is None:
            return None
        fields = Verification.__dataclass_fields__
        return Verification(**{name: held[name] for name in fields if name in held})

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the original image per pixel that was scanned, (row, column)."""
        original, scanned = self.metadata["original_size"], self.metadata["image_size"]
        return original[0] / scanned[0], original[1] / scanned[1]

    @property
    def foreground(self) -> list[int]:
        """Numbers of all classes but the background; the only one, whatever it is called."""
        background, names = self.metadata.get("background"), self.classes
        numbers = range(self.shape[0])
        return [k for k in numbers if k >= len(names) or names[k] != background] or [0]

    def box(self, row: int, column: int) -> tuple[float, float, float, float]:
        """Return one window as ``(x0, y0, x1, y1)`` in pixels of the original image."""
        x0, y0, x1, y1 = self.grid.box(row, column)
        sy, sx = self.scale
        return x0 * sx, y0 * sy, x1 * sx, y1 * sy

    def __getitem__(self, place: Any) -> NDArray[np.floating[Any]]:
        """Return scores as floating point numbers, NaN where nothing was scanned."""
        return decoded(np.asarray(self.array[place]))

    def __array__(
        self, dtype: np.dtype[Any] | None = None, copy: bool | None = None
    ) -> NDArray[Any]:
        """Return all scores, ``(K, rows, columns)``; they must fit in memory."""
        scores = self[...]
        return scores if dtype is None else scores.astype(dtype)

    def __repr__(self) -> str:
        """Say what it is in one line."""
        classes, rows, columns = self.shape
        where = f"{self.path}, " if self.path else ""
        return f"Heatmap({where}{classes} scores x {rows} rows x {columns} columns, {self.grid!r})"


def encoded(scores: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Return scores as they are stored.

    Raises
    ------
    ImageError
        If a score does not fit the type.
    """
    if dtype == "uint8":
        # Half a step beyond is still stored as 0 or 1: probabilities add up to 1 but for rounding.
        steps = np.rint(scores * LEVELS)
        known = scores[~np.isnan(scores)]
        if ((steps < 0) | (steps > LEVELS)).any():
            raise ImageError(
                f"dtype='uint8' stores scores between 0 and 1, and the model gives "
                f"{known.min():.3g} to {known.max():.3g}; use float16."
            )
        return np.where(np.isnan(scores), NOT_SCANNED, steps).astype(np.uint8)
    if dtype == "float16":
        with np.errstate(over="ignore"):
            half = scores.astype(np.float16)
        if np.isinf(half).any() and not np.isinf(scores).any():
            raise ImageError(
                f"dtype='float16' stores scores up to 65504, and the model gives "
                f"{np.nanmax(np.abs(scores)):.3g}; use float32."
            )
        return half
    return scores.astype(np.float32, copy=False)


def decoded(stored: NDArray[Any]) -> NDArray[np.floating[Any]]:
    """Return stored scores as floating point numbers."""
    if stored.dtype != np.uint8:
        return stored
    scores = stored.astype(np.float32) / np.float32(LEVELS)
    scores[stored == NOT_SCANNED] = np.nan
    return scores


def rounding(dtype: str) -> tuple[float, float]:
    """Return how far storing moves a score at most: (absolute, as a share of it)."""
    absolute = {"uint8": 0.5 / LEVELS, "float16": 2.0**-25, "float32": 0.0}
    share = {"uint8": 0.0, "float16": 2.0**-11, "float32": 2.0**-24}
    return absolute[dtype], share[dtype]


def create(store: Any, shape: tuple[int, int, int], tile: Pair, dtype: str) -> zarr.Array[Any]:
    """Make an empty heatmap in a zarr store, one chunk to a tile, and return its scores.

    Its axes are class, row and column, by the names that OME-Zarr's viewers know.
    """
    import zarr
    from zarr.codecs import BytesCodec, ZstdCodec

    group = zarr.open_group(store, mode="w", zarr_format=3)
    return group.create_array(
        "0",
        shape=shape,
        chunks=(shape[0], *tile),
        dtype=dtype,
        serializer=BytesCodec(endian="little"),
        compressors=ZstdCodec(),
        fill_value=nothing(dtype),
        dimension_names=["c", "y", "x"],
    )


def write_chunk(path: Path, scores: NDArray[Any], tile: Pair) -> None:
    """Write a tile's scores, as `encoded` gives them, as a chunk of the array that `create` makes.

    zarr would do the same, but through an event loop and threads of its own, which wait for a core
    wherever the network has them all: a seventh of the time of a whole scan, measured.
    """
    from imagecodecs import zstd_encode

    chunk = np.full((len(scores), *tile), nothing(scores.dtype), scores.dtype.newbyteorder("<"))
    chunk[:, : scores.shape[1], : scores.shape[2]] = scores
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(zstd_encode(chunk.tobytes()))


def nothing(dtype: Any) -> float:
    """Return what stands for a window that was not scanned."""
    return NOT_SCANNED if np.dtype(dtype) == np.uint8 else float("nan")


def describe(store: Any, heatmap: Heatmap) -> None:
    """Write what the heatmap is: OME-Zarr 0.5 for viewers, and fullconv's own record.

    OME-NGFF 0.5, 'multiscales': the scale is the distance between neighbouring windows, and the
    translation is the centre of the first window, both in pixels of the original image or, where
    its resolution is known, in micrometres. Pixel 0 is centred on 0 there, half a pixel from the
    image's edge.
    """
    import zarr

    grid, scale, metadata = heatmap.grid, heatmap.scale, heatmap.metadata
    um_per_pixel = metadata["um_per_pixel"]
    unit = (1.0, 1.0)
    if um_per_pixel is not None:
        unit = um_per_pixel[0] / scale[0], um_per_pixel[1] / scale[1]
    distance = [s * z * u for s, z, u in zip(grid.step, scale, unit, strict=True)]
    first = [(w / 2 * z - 0.5) * u for w, z, u in zip(grid.window, scale, unit, strict=True)]
    space = {"type": "space"} | ({"unit": "micrometer"} if um_per_pixel else {})
    brightest = LEVELS if metadata["dtype"] == "uint8" else 1  # as stored, which viewers show
    channels = [
        {
            "label": name,
            "active": index == len(heatmap.classes) - 1,
            "color": "FFD040",
            "window": {"min": 0, "max": brightest, "start": 0, "end": brightest},
        }
        for index, name in enumerate(heatmap.classes)
    ]
    ome: dict[str, Any] = {
        "version": "0.5",
        "multiscales": [
            {
                "name": "heatmap",
                "axes": [
                    {"name": "c", "type": "channel"},
                    {"name": "y"} | space,
                    {"name": "x"} | space,
                ],
                "datasets": [
                    {
                        "path": "0",
                        "coordinateTransformations": [
                            {"type": "scale", "scale": [1.0, *distance]},
                            {"type": "translation", "translation": [0.0, *first]},
                        ],
                    }
                ],
            }
        ],
    }
    if channels:
        ome["omero"] = {"channels": channels}
    zarr.open_group(store, mode="r+").attrs.put({"ome": ome, "fullconv": metadata})
    if metadata["dtype"] == "uint8":
        # As the CF conventions say it, which xarray and others follow.
        packed: dict[str, Any] = {"scale_factor": 1 / LEVELS, "_FillValue": NOT_SCANNED}
        zarr.open_array(store, path="0", mode="r+").attrs.put(packed)
