"""Excerpts: packets as they are, a length about as asked, times from zero."""

from pathlib import Path

import av
import pytest

from storage.rejects import Rejected
from tasks.excerpt import copy_packets, excerpt
from tests.made_media import Track, even_times, number_in, sine, write_media

LENGTH_S, FPS, GROUP = 12.0, 25, 25


@pytest.fixture(scope="module", params=[".mp4", ".mkv", ".ts"])
def film(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """Twelve seconds of numbered pictures, a key frame a second, and a tone."""
    path = tmp_path_factory.mktemp("film") / f"film{request.param}"
    track = Track(sine(LENGTH_S, 48_000), codec="aac")
    options = {"g": str(GROUP), "keyint_min": str(GROUP), "sc_threshold": "0"}
    return write_media(path, even_times(FPS, LENGTH_S), track=track, options=options)


def numbers(path: str) -> list[int]:
    with av.open(path, "r") as container:
        return [number_in(frame.to_ndarray(format="gray")) for frame in container.decode(video=0)]


@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_an_excerpt_is_a_stretch_of_the_film_from_a_key_frame_on(
    film: Path, tmp_path: Path, place: float
) -> None:
    cut = copy_packets(str(film), str(tmp_path / "cut.mkv"), 3.0, place)
    shown = numbers(cut["path"])
    # Behind the cut a picture is missing that the last ones may rest on.
    assert shown[:40] == list(range(shown[0], shown[0] + 40))
    assert shown[0] % GROUP == 0
    assert shown[0] / FPS == pytest.approx(place * (LENGTH_S - 3.0), abs=1.0)
    assert len(shown) / FPS == pytest.approx(3.0, abs=1.1)
    assert cut["duration_s"] == pytest.approx(LENGTH_S, abs=0.1)
    assert cut["excerpt_s"] == pytest.approx(3.0, abs=0.1)


def test_an_excerpt_begins_at_zero_and_keeps_its_sound(film: Path, tmp_path: Path) -> None:
    cut = copy_packets(str(film), str(tmp_path / "cut.mkv"), 3.0, 0.5)
    with av.open(str(cut["path"])) as container:
        assert abs(container.start_time or 0) < 0.1 * av.time_base
        samples = sum(frame.samples for frame in container.decode(audio=0))
    assert samples / 48_000 == pytest.approx(3.0, abs=1.0)


def test_a_shorter_source_is_its_own_excerpt(film: Path, tmp_path: Path) -> None:
    cut = copy_packets(str(film), str(tmp_path / "cut.mkv"), 60.0, 0.7)
    assert numbers(cut["path"]) == list(range(int(LENGTH_S * FPS)))


def test_the_sandbox_cuts_and_what_is_no_media_is_rejected(film: Path, tmp_path: Path) -> None:
    assert Path(excerpt(str(film), tmp_path, "000001", 2.0, 0.0)["path"]).is_file()
    notes = tmp_path / "notes.mp4"
    notes.write_text("no film")
    with pytest.raises(Rejected, match=r"notes\.mp4: not a media file"):
        excerpt(str(notes), tmp_path, "000002", 2.0, 0.0)
