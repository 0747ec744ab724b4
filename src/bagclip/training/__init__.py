"""Training: a loop that can stop at any moment and go on as if it had not."""

from bagclip.training.checkpoint import Progress
from bagclip.training.config import TrainConfig
from bagclip.training.trainer import Step, train, validate

__all__ = ["Progress", "Step", "TrainConfig", "train", "validate"]
