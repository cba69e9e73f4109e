"""All codecs; importing this package registers them."""

from qacomp.formats.codecs import bitpack, codebooks, context, grids, huffman, lzma, planes, rans, raw, twobyte, zstd
from qacomp.formats.codecs.base import CODECS, Codec, Stream, codec_name, codec_of, register

__all__ = [
    "CODECS",
    "Codec",
    "Stream",
    "bitpack",
    "codebooks",
    "codec_name",
    "codec_of",
    "context",
    "grids",
    "huffman",
    "lzma",
    "planes",
    "rans",
    "raw",
    "register",
    "twobyte",
    "zstd",
]
