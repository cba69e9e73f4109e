"""Read untrusted pickles safely with one bounded reader; a subclass for each kind of file interprets the globals."""

from qacomp.pickles.reader import LARGEST_NAME, Name, PickleReader, UnmadeObject, walked

__all__ = ["LARGEST_NAME", "Name", "PickleReader", "UnmadeObject", "walked"]
