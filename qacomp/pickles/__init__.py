"""Pickles from outside, read in bounds by one reader; each kind of file is a subclass that says what names mean."""

from qacomp.pickles.reader import LARGEST_NAME, Name, PickleReader, UnmadeObject, walked

__all__ = ["LARGEST_NAME", "Name", "PickleReader", "UnmadeObject", "walked"]
