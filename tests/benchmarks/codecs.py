"""The learned codec beside mel-PCA with Griffin-Lim, on files that neither has heard.

    .venv/bin/python -m tests.benchmarks.codecs --speech prompts corpus/librivox \
        --ambience corpus/ambience corpus/animals film.mp4 --unseen corpus/obama_speech.mp4

Both codecs have as many channels and learn from the same files. Of each folder of four files or
more a tenth, at least one, is held out, by the hash of the names; what --unseen names is held out
too, and counts as speech. Opinions are DNSMOS's overall ones, of speech alone; distances are means
over files; decoding is timed in CPU seconds of one thread. `--state` keeps the training, so that a
killed one goes on; `--codec` measures a codec that is there instead of training.
"""

import argparse
import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

from models.codec import Codec, MelPCA, MelPCAConfig
from models.metrics import log_mel_l1_db, multi_resolution_stft_db
from models.timeline import AUDIO_HZ
from tasks.codec_training import CodecTrainer, Sounds
from tasks.codecs import codec_bytes, codec_from
from tasks.dnsmos import load_dnsmos
from tasks.fit_codec import FitCodecConfig

SUFFIXES = frozenset([".wav", ".mp3", ".ogg", ".flac", ".g722", ".mp4"])
LONGEST_S = 10.0
FEWEST = 4
"""Files of a folder of which some are held out."""


@dataclass(frozen=True, slots=True)
class Held:
    """A sound that no codec has heard: its first ten seconds in whole latents, (1, samples)."""

    group: str
    audio: Tensor


def read(path: Path) -> Tensor:
    """The sound of a file at 16 kHz, mono: (samples,)."""
    blocks = []
    with av.open(str(path), format="g722" if path.suffix == ".g722" else None) as container:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=AUDIO_HZ)
        for frame in container.decode(audio=0):
            blocks += [part.to_ndarray()[0] for part in resampler.resample(frame)]
        blocks += [part.to_ndarray()[0] for part in resampler.resample(None)]
    return torch.from_numpy(np.concatenate(blocks).astype(np.float32))


def files_of(place: Path) -> list[Path]:
    """The sound files of a folder, or the one that is named, in the order of their names' hash."""
    if place.is_file():
        return [place]
    files = [path for path in place.rglob("*") if path.suffix in SUFFIXES]
    return sorted(files, key=lambda path: _hash(path.relative_to(place).as_posix()))


def parted(places: list[Path]) -> tuple[list[Path], list[Path]]:
    """The files to learn from, and the ones that are held out."""
    learned, held = [], []
    for place in places:
        files = files_of(place)
        count = max(1, len(files) // 10) if len(files) >= FEWEST else 0
        held += files[:count]
        learned += files[count:]
    return learned, held


def measure(codec: Codec | None, sounds: list[Held]) -> Iterator[str]:
    """A line for each group of sounds; without a codec, of the recordings themselves."""
    name = codec.name if codec else "recording"
    listener = load_dnsmos()
    for group in dict.fromkeys(sound.group for sound in sounds):
        rows = []
        for sound in (sound for sound in sounds if sound.group == group):
            latents = codec.encode(sound.audio) if codec else sound.audio
            started = time.process_time()
            decoded = codec.decode(latents) if codec else latents
            rtf = (time.process_time() - started) / (sound.audio.shape[1] / AUDIO_HZ)
            opinion = np.nan
            if group != "ambience":
                opinion = listener.opinion(decoded[0].numpy()).overall
            stft_db = float(multi_resolution_stft_db(decoded, sound.audio))
            rows.append((opinion, stft_db, float(log_mel_l1_db(decoded, sound.audio)), rtf))
        dnsmos, stft_db, mel_db, rtf = np.mean(rows, axis=0)
        yield (
            f"{name:<10}{group:<10}{len(rows):>4} files  DNSMOS {dnsmos:.3f}  "
            f"MR-STFT {stft_db:.3f} dB  log-mel {mel_db:.3f} dB  decoding {rtf:.3f} CPU-s a second"
        )


def trained(config: FitCodecConfig, sounds: Sounds, state: Path | None) -> Codec:
    """The learned codec, with its losses printed on the way."""
    trainer = CodecTrainer(config, sounds)
    if state is None or not trainer.resume(state):
        trainer.begin(trainer.sounds.whole())
    wall, cpu = time.perf_counter(), time.process_time()
    while trainer.step < config.steps:
        losses = trainer.train_step()
        if trainer.step % 100 == 0:
            told = "  ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
            spent = f"{time.perf_counter() - wall:.0f} s, {time.process_time() - cpu:.0f} CPU-s"
            print(f"step {trainer.step}  {told}  ({spent})", flush=True)
        if state is not None and trainer.step % config.save_every == 0:
            trainer.save(state)
    return trainer.finish(trainer.sounds.whole())


def sounds_of(files: list[Path]) -> Sounds:
    """The sounds of files, held in memory."""
    audios = [audio for audio in map(read, files) if len(audio) >= AUDIO_HZ // 5]

    def part(index: int, start: int, count: int) -> Tensor:
        audio = audios[index][start : start + count]
        return torch.nn.functional.pad(audio, (0, count - len(audio)))

    return Sounds(tuple(len(audio) for audio in audios), part)


def held_sounds(groups: dict[str, list[Path]], latent_samples: int = 640) -> list[Held]:
    """The first ten seconds of each file, but for files under a second and digital silence."""
    held = []
    for group, files in groups.items():
        for audio in map(read, files):
            count = min(len(audio), int(LONGEST_S * AUDIO_HZ)) // latent_samples * latent_samples
            if count >= AUDIO_HZ and float(audio[:count].square().mean()) > 1e-7:
                held.append(Held(group, audio[None, :count]))
    return held


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def main() -> None:
    """Trains, measures and prints."""
    defaults = FitCodecConfig()
    parser = argparse.ArgumentParser(description=main.__doc__)
    for name in ("speech", "ambience", "unseen"):
        parser.add_argument(f"--{name}", nargs="*", type=Path, default=[])
    parser.add_argument("--steps", type=int, default=defaults.steps)
    parser.add_argument("--channels", type=int, default=defaults.channels)
    parser.add_argument("--precision", default=defaults.precision)
    parser.add_argument("--state", type=Path)
    parser.add_argument("--codec", type=Path, help="read this one; written where it is missing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    speech, held_speech = parted(options.speech)
    ambience, held_ambience = parted(options.ambience)
    groups = {"speech": held_speech, "unseen": options.unseen, "ambience": held_ambience}
    held = held_sounds(groups)
    sounds = sounds_of([*speech, *ambience])
    minutes = sum(sounds.samples) / AUDIO_HZ / 60
    print(f"{len(sounds.samples)} files to learn from, {minutes:.1f} min; {len(held)} held out")
    pca = MelPCA.fit(sounds.whole(), MelPCAConfig(channels=options.channels))
    if options.codec and options.codec.exists():
        learned = codec_from(options.codec.read_bytes())
    else:
        config = FitCodecConfig(
            codec="learned",
            channels=options.channels,
            steps=options.steps,
            precision=options.precision,
        )
        learned = trained(config, sounds, options.state)
        if options.codec:
            options.codec.write_bytes(codec_bytes(learned))
    for codec in (None, pca, learned):
        print(*measure(codec, held), sep="\n", flush=True)
    for codec in (pca, learned):
        print(f"{codec.name}: {len(codec_bytes(codec)):,} bytes")


if __name__ == "__main__":
    main()
