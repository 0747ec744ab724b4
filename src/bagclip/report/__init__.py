"""What a run has shown, to look at: an overlay of a heat map on its image, and a report as one HTML file."""

from bagclip.report.overlay import overlay
from bagclip.report.page import Candidate, GroundingExample, Report, RetrievalExample, write_report
from bagclip.report.save import save_overlay
from bagclip.report.sheet import save_sheet

__all__ = [
    "Candidate",
    "GroundingExample",
    "Report",
    "RetrievalExample",
    "overlay",
    "save_overlay",
    "save_sheet",
    "write_report",
]
