"""What a run has shown, to look at: an overlay of a heat map on its image, and a report as one HTML file."""

from bagclip.report.overlay import overlay
from bagclip.report.page import Candidate, GroundingExample, Report, RetrievalExample, write_report
from bagclip.report.save import save_overlay

__all__ = [
    "Candidate",
    "GroundingExample",
    "Report",
    "RetrievalExample",
    "overlay",
    "save_overlay",
    "write_report",
]
