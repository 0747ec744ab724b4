"""Scores without any encoder: bags of features you already have, of whatever lengths."""

import torch

import bagclip as bc

slides = [torch.randn(n, 128) for n in (900, 1500)]  # patches of two slides
notes = [torch.randn(n, 128) for n in (3, 1, 6)]  # sentences of three notes
images, documents = bc.Bag.from_list(slides, names=["slide A", "slide B"]), bc.Bag.from_list(notes)

for name in bc.methods.METHODS:
    method = bc.methods.build(name, dim=128)
    print(f"{name:8} {[[round(value, 3) for value in row] for row in method.score(images, documents).tolist()]}")
