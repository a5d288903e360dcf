"""The first bytes by which files of a format are recognised."""

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
HDF5_START = b"\x89HDF\r\n\x1a\n"
HFA_START = b"EHFA_HEADER_TAG\0"
NETCDF_STARTS = (b"CDF\x01", b"CDF\x02", b"CDF\x05")
"""The classic formats of netCDF; netCDF-4 is HDF5."""
VRT_START = b"<VRTDataset"
