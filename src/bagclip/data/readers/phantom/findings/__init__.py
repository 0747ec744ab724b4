"""The findings, one a file: how each is drawn, where it lies, and the words that describe it."""
