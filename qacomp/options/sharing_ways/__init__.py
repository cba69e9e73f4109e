"""Collect the ways of sharing (--sharing); each file here registers one. Doesn't need torch."""

from qacomp.options.sharing_ways.registry import SHARING_WAYS, SharingWay, register_sharing_way

__all__ = ["SHARING_WAYS", "SharingWay", "register_sharing_way"]
