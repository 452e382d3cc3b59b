import numpy as np
import pytest
import torch

from bnn.training.augmentation import augmented
from bnn.training.options import Augmentation


@pytest.mark.parametrize("shape", [(4, 6), (3, 4, 6)])
@pytest.mark.parametrize("options", [Augmentation(shift=2), Augmentation(shift=3, mirror=False)])
def test_every_image_is_one_of_its_shifted_copies(
    shape: tuple[int, ...], options: Augmentation
) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(1, 256, (60, int(np.prod(shape))), dtype=np.uint8)
    found = augmented(torch.from_numpy(images), shape, options, rng=rng).numpy()
    assert found.dtype == np.uint8
    copies = set()
    for image, changed in zip(
        images.reshape(60, -1, 4, 6), found.reshape(60, -1, 4, 6), strict=True
    ):
        matches = []
        for down in range(-options.shift, options.shift + 1):
            for right in range(-options.shift, options.shift + 1):
                moved = np.zeros_like(image)
                for row in range(4):
                    for column in range(6):
                        if 0 <= row - down < 4 and 0 <= column - right < 6:
                            moved[:, row, column] = image[:, row - down, column - right]
                for turned in (False, True):
                    if np.array_equal(changed, moved[:, :, ::-1] if turned else moved):
                        matches.append((down, right, turned))
        assert matches
        copies.add(matches[0])
    # all sorts of copies occur
    assert len(copies) > 25
    assert {turned for _, _, turned in copies} == ({False, True} if options.mirror else {False})


def test_nothing_happens_where_nothing_may() -> None:
    images = torch.arange(48, dtype=torch.uint8).reshape(2, 24)
    rng = np.random.default_rng(0)
    found = augmented(images, (4, 6), Augmentation(shift=0, mirror=False), rng=rng)
    assert torch.equal(found, images)
