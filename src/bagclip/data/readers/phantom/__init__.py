"""Synthetic chest radiographs with reports, boxes and masks: studies at no cost, for demonstrations and tests."""

from __future__ import annotations

from bagclip.data.readers.phantom.cases import FINDINGS
from bagclip.data.readers.phantom.prompts import prompts
from bagclip.data.readers.phantom.sequence import Phantom, phantom

__all__ = ["FINDINGS", "Phantom", "phantom", "prompts"]
