import numpy as np
import pytest

from models.motion import MOTION_DIM, motion_energy


def frames(count: int, step_pixels: int) -> np.ndarray:
    """A white 16-pixel square on black that moves right by ``step_pixels`` a frame."""
    picture = np.zeros((count, 64, 64), dtype=np.uint8)
    for frame in range(count):
        picture[frame, 8:24, frame * step_pixels : frame * step_pixels + 16] = 255
    return picture


def test_a_still_picture_has_no_motion() -> None:
    assert not motion_energy(frames(5, 0)).any()


def test_a_moving_square_moves_by_the_pixels_that_it_uncovers() -> None:
    energy = motion_energy(frames(5, 2))
    expected = np.log1p(2 * 2 * 16 * 255 / 64**2)
    np.testing.assert_allclose(energy[1:, 0], expected, rtol=1e-5)


def test_the_first_frame_is_zero() -> None:
    assert not motion_energy(frames(3, 2))[0].any()


def test_motion_shows_in_the_cells_where_it_happens_and_nowhere_else() -> None:
    cells = motion_energy(frames(3, 2))[1, 2:].reshape(4, 4)
    assert (cells[:2, :2] > 0).any()
    assert not cells[2:].any() and not cells[:, 2:].any()


def test_the_onset_marks_the_frame_in_which_motion_begins() -> None:
    still, moving = frames(4, 0), frames(4, 4)
    onset = motion_energy(np.concatenate([still, moving]))[:, 1]
    assert onset.argmax() == 5
    assert not np.delete(onset, 5).any()


def test_brighter_and_darker_count_alike() -> None:
    flash = np.zeros((2, 8, 8), dtype=np.uint8)
    flash[1] = 200
    up, down = motion_energy(flash)[1, 0], motion_energy(flash[::-1])[1, 0]
    assert up == down == pytest.approx(np.log1p(200))


def test_shape_and_dtype_follow_the_grid() -> None:
    assert motion_energy(frames(3, 1)).shape == (3, MOTION_DIM)
    assert motion_energy(frames(3, 1), grid=2).shape == (3, 6)
    assert motion_energy(np.zeros((0, 8, 8), dtype=np.uint8)).shape == (0, MOTION_DIM)
    assert motion_energy(frames(3, 1)).dtype == np.float32


def test_colour_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        motion_energy(np.zeros((2, 8, 8, 3), dtype=np.uint8))
