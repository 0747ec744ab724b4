import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import hypothesis
import torch

torch.set_num_threads(1)
hypothesis.settings.register_profile("bagclip", deadline=None, derandomize=True, max_examples=30)
hypothesis.settings.load_profile("bagclip")
