"""Read and write files by URL: hf://org/name, s3://..., https://... Only a URL that the user gives is opened."""

from qacomp.remote.opening import open_file, verify_file

__all__ = ["open_file", "verify_file"]
