"""Readers: each turns one kind of source into studies."""

from bagclip.data.readers.pairs import pairs
from bagclip.data.readers.phantom import FINDINGS, Phantom, phantom, prompts

__all__ = ["FINDINGS", "Phantom", "pairs", "phantom", "prompts"]
