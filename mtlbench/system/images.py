"""Image files of whatever origin: what their bytes hold is decoded by Pillow alone, never by another program."""

from __future__ import annotations

import io

from PIL import Image, UnidentifiedImageError

from mtlbench.system.given import pointer_in

# Not EPS, for one, which Pillow hands to Ghostscript whatever the file is called.
FORMATS = ("AVIF", "BMP", "GIF", "HEIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")


def open_image(content: bytes) -> Image.Image:
    """The image in the bytes of a file, not yet decoded. Raises OSError where there is none of FORMATS, and Pillow's
    errors for one that is cut off or larger than it takes (about 180 million pixels)."""
    if pointer := pointer_in(content):
        raise OSError(pointer)
    Image.init()
    try:
        return Image.open(io.BytesIO(content), formats=[name for name in FORMATS if name in Image.OPEN])
    except UnidentifiedImageError as error:
        raise OSError("its bytes are those of no image") from error
