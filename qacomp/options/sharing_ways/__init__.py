"""Ways of sharing (--sharing), a file each: every file here registers its own. Free of torch, for the checks."""

from qacomp.options.sharing_ways.registry import SHARING_WAYS, SharingWay, register_sharing_way

__all__ = ["SHARING_WAYS", "SharingWay", "register_sharing_way"]
