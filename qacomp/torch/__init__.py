"""Load a container into a module of PyTorch, tensor by tensor: `load_into` and `from_pretrained`."""

from qacomp.extras import naming_extra

with naming_extra("qacomp.torch", trains=True):
    from qacomp.torch.building import from_pretrained
    from qacomp.torch.loading import Loaded, load_into
    from qacomp.torch.on_device import decoding_on_device

__all__ = ["Loaded", "decoding_on_device", "from_pretrained", "load_into"]
