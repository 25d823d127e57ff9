"""The audio codecs by name: made from pretrained networks, written as one blob, and read again.

A blob holds the networks' weights and configurations, so that whatever encodes, trains or generates
needs neither the hub nor the folder that a codec came from.
"""

import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from models.timeline import AUDIO_HZ, LATENT_HZ
from storage.ids import canonical_json
from tasks.pretrained import DIFFUSERS_FILE, TRANSFORMERS_FILE, Pretrained, library_class, quiet

if TYPE_CHECKING:
    import torch

    from models.codec import Codec
    from models.learned_codec import LearnedCodec
    from models.vae_codecs import NetworkCodec

CodecName = Literal["mel_pca", "learned", "audioldm2", "oobleck"]
CODECS: tuple[str, ...] = get_args(CodecName)
MEL_PCA, LEARNED = "mel_pca", "learned"
FITTED = (MEL_PCA, LEARNED)
"""The codecs that are made here, of one's own data."""
_KEY = "codec"  # one key alone: safetensors writes several in no fixed order
_SETTING = "fit_codec.pretrained"
# Its default asks for a library that only saves memory, and complains where that is missing.
_OPTIONS = {DIFFUSERS_FILE: {"low_cpu_mem_usage": False}}


@dataclass(frozen=True, slots=True)
class _Family:
    """Where the hub has a pretrained codec, and the networks that it is made of."""

    source: str
    networks: dict[str, str]
    """Its part of the repository → the file of its weights there."""


_FAMILIES = {
    "audioldm2": _Family("cvssp/audioldm2", {"vae": DIFFUSERS_FILE, "vocoder": TRANSFORMERS_FILE}),
    "oobleck": _Family("stabilityai/stable-audio-open-1.0", {"vae": DIFFUSERS_FILE}),
}


def codec_fingerprint(name: str, pretrained: str = "") -> dict[str, str]:
    """What identifies the networks of a codec: empty for one that is fitted here."""
    return {part: it.fingerprint() for part, it in _parts(name, pretrained).items()}


def load_pretrained_codec(
    name: str,
    pretrained: str = "",
    *,
    device: "torch.device | str" = "cpu",
    dtype: "torch.dtype | None" = None,
) -> "NetworkCodec":
    """The codec of pretrained networks, with its latents as they are.

    Args:
        name: audioldm2 or oobleck.
        pretrained: hub name or folder with the networks' folders (`vae`, `vocoder`); empty takes
            the published one.
        device: where it runs.
        dtype: of its networks; None is float32.

    Raises MissingWeight where a network is not here and cannot be had.
    """
    networks = {
        part: it.load(_class_of(name, part), **_OPTIONS.get(it.file, {}))
        for part, it in _parts(name, pretrained).items()
    }
    return _assembled(name, networks, device, dtype)


def codec_bytes(codec: "Codec") -> bytes:
    """A codec as the bytes of a safetensors file, which `codec_from` reads; no pickle."""
    from safetensors.torch import save

    state = {name: value.detach().cpu().contiguous() for name, value in codec.state_dict().items()}
    if codec.name == MEL_PCA:
        return save(state)
    if codec.name == LEARNED:
        sizes = asdict(cast("LearnedCodec", codec).config)
        return save(state, {_KEY: canonical_json({"name": codec.name, "sizes": sizes})})
    networks = {part: _config_of(getattr(codec, part)) for part in _FAMILIES[codec.name].networks}
    return save(state, {_KEY: canonical_json({"name": codec.name, "networks": networks})})


def codec_from(
    data: bytes, *, device: "torch.device | str" = "cpu", dtype: "torch.dtype | None" = None
) -> "Codec":
    """The codec of `codec_bytes`, ready to encode and decode.

    A codec that was fitted here stays in float32, whatever the dtype. Raises ValueError for a codec
    that this version does not know.
    """
    from safetensors.torch import load

    from models.codec import MelPCA
    from models.learned_codec import LearnedCodec, LearnedCodecConfig

    described = _metadata(data).get(_KEY)
    if described is None:
        return MelPCA.from_state(load(data)).to(device)
    made = json.loads(described)
    name = made["name"]
    if name == LEARNED:
        learned = LearnedCodec(LearnedCodecConfig(**made["sizes"]))
        learned.load_state_dict(load(data))
        return learned.eval().requires_grad_(False).to(device)
    if name not in _FAMILIES:
        raise ValueError(f"codec {name!r} is not known here; there are {', '.join(CODECS)}")
    networks = {part: _from_config(name, part, made["networks"][part]) for part in made["networks"]}
    codec = _assembled(name, networks, "cpu", None)
    codec.load_state_dict(load(data))
    return _placed(codec, networks, device, dtype)


def require_grid(codec: "Codec", name: str) -> None:
    """Raises ValueError for a codec whose rates are not those of the pipeline's grids."""
    if (codec.sample_rate_hz, codec.latent_hz) != (AUDIO_HZ, LATENT_HZ):
        raise ValueError(
            f"fit_codec.codec {name}: it takes {codec.sample_rate_hz} Hz and gives "
            f"{codec.latent_hz:.4g} latents a second, and a dataset's grids need {AUDIO_HZ} Hz and "
            f"{LATENT_HZ}; use mel_pca or audioldm2, or weights of these rates"
        )


def _parts(name: str, pretrained: str) -> dict[str, Pretrained]:
    if name in FITTED:
        return {}
    family = _FAMILIES[name]
    source = pretrained or family.source
    return {
        part: Pretrained(source, part, file, _SETTING) for part, file in family.networks.items()
    }


def _class_of(name: str, part: str) -> Any:
    if part == "vocoder":
        return library_class("transformers", "SpeechT5HifiGan")
    return library_class(
        "diffusers", "AutoencoderKL" if name == "audioldm2" else "AutoencoderOobleck"
    )


def _from_config(name: str, part: str, config: dict[str, Any]) -> Any:
    """The network of a configuration, whose weights are still to be loaded."""
    kind = _class_of(name, part)
    with quiet():
        made = kind(kind.config_class(**config)) if part == "vocoder" else kind.from_config(config)
    return made.eval().requires_grad_(False)


def _config_of(network: Any) -> dict[str, Any]:
    """A network's configuration without what names a machine or a version of a library."""
    config = network.config
    fields = config.to_diff_dict() if hasattr(config, "to_diff_dict") else dict(config)
    left_out = ("transformers_version", "dtype", "torch_dtype", "architectures")
    return {k: v for k, v in fields.items() if not k.startswith("_") and k not in left_out}


def _assembled(
    name: str,
    networks: dict[str, Any],
    device: "torch.device | str",
    dtype: "torch.dtype | None",
) -> "NetworkCodec":
    from models.mel import MelConfig
    from models.vae_codecs import MelVAECodec, WaveformVAECodec

    vae = networks["vae"].config
    if name == "oobleck":
        codec = WaveformVAECodec(
            networks["vae"],
            sample_rate_hz=vae.sampling_rate,
            channels=vae.decoder_input_channels,
            latent_samples=math.prod(vae.downsampling_ratios),
            audio_channels=vae.audio_channels,
        )
    else:
        vocoder = networks["vocoder"].config
        mel = MelConfig(
            sample_rate_hz=vocoder.sampling_rate,
            hop_samples=math.prod(vocoder.upsample_rates),
            bands=vocoder.model_in_dim,
            high_hz=vocoder.sampling_rate / 2,
        )
        codec = MelVAECodec(
            networks["vae"],
            networks["vocoder"],
            vae_channels=vae.latent_channels,
            vae_stride=2 ** (len(vae.block_out_channels) - 1),
            mel=mel,
        )
    return _placed(codec, networks, device, dtype)


def _metadata(data: bytes) -> dict[str, str]:
    """What a safetensors file says about itself: its header is JSON behind its length."""
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]).get("__metadata__", {})


def _placed(
    codec: "NetworkCodec",
    networks: dict[str, Any],
    device: "torch.device | str",
    dtype: "torch.dtype | None",
) -> "NetworkCodec":
    import torch

    # The latents' scale stays in float32: it belongs to the codec, not to a network. Diffusers'
    # own `to` warns of modules that should stay in float32 even where there are none.
    for network in networks.values():
        torch.nn.Module.to(network, dtype or torch.float32)
    return codec.to(device)
