"""What can be watched of a training while it runs: event files for TensorBoard, samples of audio.

Everything lies in `reports/training/<dataset>-<key>/`. Numbers come from the loss curve, which is
part of the saved state, so a training that goes on writes its event file anew and whole.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from models.timeline import LATENT_HZ, count
from storage.workspace import Workspace, write_atomically
from tasks.batches import collate, crop
from tasks.few_steps import InTraining
from tasks.loss_curve import ALL, Point

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter

    from models.codec import Codec

FOLDER = "reports/training"
EVENTS = "events.out.tfevents.*"
SAMPLE, TAG = "step-{:08d}.flac", "sample"


class TrainingWatch:
    """Writes what a training's curve has gained, and samples, after each step."""

    def __init__(
        self, folder: Path, events: "SummaryWriter", trainer: InTraining, codec: "Codec"
    ) -> None:
        """Writes the curve and the samples that are there already."""
        self.folder, self.events, self.trainer, self.codec = folder, events, trainer, codec
        self._told = 0
        self._tell_points()
        for path in sorted(folder.glob(SAMPLE.format(0).replace("00000000", "*"))):
            if (step := int(path.stem.partition("-")[2])) <= trainer.step:
                self._tell_sample(step, path)
            else:
                path.unlink()  # it will be made again

    def after_step(self) -> None:
        """Writes what a step brought."""
        self._tell_points()
        trainer = self.trainer
        if trainer.config.is_sampled(trainer.step):
            path = self.folder / SAMPLE.format(trainer.step)
            write_atomically(path, _flac(generated(trainer, self.codec), self.codec))
            self._tell_sample(trainer.step, path)

    def _tell_points(self) -> None:
        new = self.trainer.curve[self._told :]
        for point in new:
            self.events.add_scalar(tag_of(point), point["loss"], point["step"])
            if (point["task"], point["t_bucket"]) == (ALL, ALL):
                rate = self.trainer.config.rate(point["step"] - 1)
                self.events.add_scalar("learning_rate", rate, point["step"])
        if new:
            self.events.flush()
        self._told += len(new)

    def _tell_sample(self, step: int, path: Path) -> None:
        import soundfile

        audio, rate_hz = soundfile.read(path, dtype="float32")
        self.events.add_audio(TAG, audio, step, sample_rate=rate_hz)


@contextmanager
def watched(
    workspace: Workspace, name: str, trainer: InTraining, codec: "Codec"
) -> Iterator[TrainingWatch]:
    """The watch of a training, whose files are in the workspace's store at the end."""
    from tensorboardX import SummaryWriter

    ref = f"{FOLDER}/{name}"
    folder = workspace.path(ref)
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob(EVENTS):
        path.unlink()
    with SummaryWriter(str(folder)) as events:
        yield TrainingWatch(folder, events, trainer, codec)
    workspace.publish(ref)


def tag_of(point: Point) -> str:
    """What TensorBoard calls the curve of a point."""
    # Another loss than the model's: not to be read as that curve's end.
    group = "few_steps_loss" if point["phase"] == "few_steps" else "loss"
    if point["t_bucket"] != ALL:
        return f"{group}_by_time/{point['t_bucket']}"
    return f"{group}/{point['task']}"


def generated(trainer: InTraining, codec: "Codec") -> np.ndarray:
    """What the model makes of the conditions of the first training item: audio (samples,).

    The item and its noise are always the same, so that samples of different steps compare.
    """
    import torch

    data, sizes = trainer.data, trainer.model.config
    (item,) = data.store.read([data.single[0]])
    length = min(len(item["latents"]), count(trainer.config.crop_s, LATENT_HZ))
    batch = collate([crop(item, 0, length)], length, sizes.motion_dim, sizes.visual_dim)
    generator = torch.Generator().manual_seed(trainer.config.seed)
    with torch.inference_mode():
        latents = trainer.sampled(batch.conditions.to(trainer.device), generator)
        return codec.decode(latents.float().cpu())[0].numpy()


def _flac(audio: np.ndarray, codec: "Codec") -> bytes:
    import soundfile

    sink = io.BytesIO()
    soundfile.write(sink, audio, codec.sample_rate_hz, subtype="PCM_16", format="FLAC")
    return sink.getvalue()
