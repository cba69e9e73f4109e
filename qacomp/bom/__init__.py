"""Write what a container is, what it was made from and how good it is as a CycloneDX bill of materials (ML-BOM)."""

from qacomp.bom.document import MadeBom, sbom

__all__ = ["MadeBom", "sbom"]
