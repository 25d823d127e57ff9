"""Attention reads the same whether it is computed for a training or for a generation."""

import torch
import torch.nn.functional as F

from models.attention import attend


def test_training_on_a_cpu_reads_and_learns_what_the_fused_kernel_does() -> None:
    generator = torch.Generator().manual_seed(0)
    given = [torch.randn(2, 3, length, 8, generator=generator) for length in (5, 7, 7)]
    mask = torch.ones(2, 1, 1, 7, dtype=torch.bool)
    mask[1, ..., 4:] = False
    leaves = [[values.clone().requires_grad_() for values in given] for _ in range(2)]
    query, key, value = leaves[0]
    ours = attend(query, key, value, mask)
    query, key, value = leaves[1]
    fused = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    torch.testing.assert_close(ours, fused, rtol=1e-5, atol=1e-6)
    for read in (ours, fused):
        read.square().sum().backward()
    for one, other in zip(*leaves, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-5, atol=1e-6)
