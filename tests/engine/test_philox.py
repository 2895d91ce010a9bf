from __future__ import annotations

import numpy as np
import pytest
import torch

from webui.engine.noise import generator
from webui.engine.philox import Philox, philox


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_known_answers_of_its_authors(counter: list[int], key: list[int], expected: list[int]) -> None:
    """From Random123's kat_vectors, philox4x32-10."""
    words = philox(np.array(counter, np.uint32)[:, None], np.array(key, np.uint32)[:, None])
    assert words[:, 0].tolist() == expected


def test_draws_what_torch_draws_on_an_nvidia_gpu() -> None:
    """torch.manual_seed(0); torch.randn(4, device="cuda")."""
    first = Philox(0).normal((4,))
    assert first.dtype == np.float32
    np.testing.assert_allclose(first, [-0.92466259, -0.42534415, -2.6438457, 0.14518388], atol=1e-6)


def test_draws_go_on_and_are_normal() -> None:
    source = Philox(2**40 + 5)
    one, two = source.normal((4, 64, 64)), source.normal((4, 64, 64))
    assert one.shape == (4, 64, 64)
    for each in (one, two):
        assert abs(each.mean()) < 0.03 and abs(each.std() - 1) < 0.03 and np.isfinite(each).all()
    assert abs((one * two).mean()) < 0.03
    assert not np.array_equal(Philox(5).normal((4,)), Philox(2**40 + 5).normal((4,)))
    np.testing.assert_array_equal(Philox(-1).normal((4,)), Philox(2**64 - 1).normal((4,)))


@pytest.mark.gpu
def test_equals_the_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    real, ours = generator(7, "GPU", torch.device("cuda")), generator(7, "NV", torch.device("cuda"))
    for _ in range(3):
        torch.testing.assert_close(real((4, 64, 64)).cpu(), ours((4, 64, 64)), atol=1e-5, rtol=1e-5)
