"""Number the filters and input channels of the context codec's streams, and find those of each position."""

import math
from collections.abc import Sequence

import numpy as np

from qacomp.formats.codecs.base import Stream
from qacomp.formats.codecs.contextcounts import Ints


def geometry(stream: Stream) -> tuple[int, int]:
    """Return (values of a filter, values of an input channel in it); a vector counts as one filter of one channel."""
    shape = stream.shape if len(stream.shape) > 1 else (1, 1, *stream.shape)
    inner = math.prod(shape[2:])
    return max(shape[1] * inner, 1), max(inner, 1)


class Places:
    """The stream, filter and channel of each position; filters and channels are numbered over all streams."""

    def __init__(self, streams: Sequence[Stream]) -> None:
        of_stream, of_filter, of_channel = [], [], []
        self.filter_stream: Ints = np.zeros(0, np.int64)
        filters, channels = 0, 0
        filter_streams, channel_streams = [], []
        for number, stream in enumerate(streams):
            size, inner = geometry(stream)
            skipped = stream.start % size
            new_filters = -(-(skipped + stream.count) // size)
            of_stream.append(np.full(stream.count, number, np.int32))
            new_channels = size // inner
            row: Ints
            channel: Ints
            if size > stream.count:
                place = np.arange(skipped, skipped + stream.count)
                row, channel = place // size, place % size // inner
                if new_channels > stream.count:  # a chunk of a wide tensor: number only the channels that occur
                    kinds, channel = np.unique(channel, return_inverse=True)
                    new_channels = len(kinds)
            else:  # counted by repeating, which takes less time than dividing
                span = slice(skipped, skipped + stream.count)
                row = np.repeat(np.arange(new_filters, dtype=np.int32), size)[span]
                channel = np.tile(np.repeat(np.arange(new_channels, dtype=np.int32), inner), new_filters)[span]
            of_filter.append((row + filters).astype(np.int32, copy=False))
            of_channel.append((channel + channels).astype(np.int32, copy=False))
            filter_streams.append(np.full(new_filters, number))
            channel_streams.append(np.full(new_channels, number))
            filters, channels = filters + new_filters, channels + new_channels
        self.stream = np.concatenate(of_stream)
        self.filter = np.concatenate(of_filter)
        self.channel = np.concatenate(of_channel)
        self.filter_stream = np.concatenate(filter_streams)
        self.channel_stream = np.concatenate(channel_streams)
