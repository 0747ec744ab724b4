"""The layers of a picture: tissue, which brightens it, and air, which darkens it.

A finding thickens the one or displaces the other, so findings that overlap stay in range, and a picture with and one
without a finding differ only where it lies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bagclip.data.readers.phantom.shapes import Field

LUNG_AIR = 0.46
"""How much darker a lung is than the soft tissue around it."""


@dataclass
class Layers:
    """What absorbs: tissue (about 0 to 1.5) and the share of air in the lungs (0 to about 1.2)."""

    tissue: Field
    air: Field

    def absorption(self) -> Field:
        """Both layers together: about 0 outside the body, 0.2 in the lungs, 1 in the spine."""
        return self.tissue - LUNG_AIR * self.air

    def displace(self, share: Field) -> None:
        """Replace this share of the air by something denser; negative shares add air."""
        self.air *= 1 - share
