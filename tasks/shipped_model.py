"""The model that comes with the application: a folder that `talkies model export` wrote."""

from pathlib import Path

import models

SHIPPED = "shipped"
"""What stands for it where a model or a file of weights is named."""
FOLDER = Path(models.__file__).parent / "weights"


def shipped_model() -> Path | None:
    """The folder of the model that comes with the application; None where none does."""
    cards = sorted(FOLDER.glob("*/package.json"))
    return cards[0].parent if cards else None
