"""How good sound and face are, on signals whose quality is known."""

import av
import numpy as np
import pytest

from mse_pipeline.errors import ClipError
from mse_pipeline.extractors.acoustic.quality import AcousticQuality
from mse_pipeline.extractors.registry import create
from mse_pipeline.extractors.visual.faces import FaceConfig, Faces, FaceSession
from mse_pipeline.extractors.visual.mtcnn import Mtcnn
from mse_pipeline.extractors.visual.quality import QualityMeasure, VisualQuality
from mse_pipeline.media.audio import Audio
from mse_pipeline.media.decode import FrameRequest, decode
from mse_pipeline.media.frames import Frame, FrameBatch

RATE = 16_000


def tone(seconds=3.0, hertz=997.0, peak=1.0):
    return (peak * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def bursts(seconds=6.0, peak=0.5, seed=0):
    """Half a second of a noisy voice-like sound, half a second of nothing, and so on."""
    rng = np.random.default_rng(seed)
    sound = rng.normal(size=int(seconds * RATE)) * peak / 4
    return np.where(np.arange(len(sound)) % RATE < RATE // 2, sound, 0.0)


def measured(samples):
    features = AcousticQuality()(Audio(np.asarray(samples, np.float32)))
    assert features.values.shape == (1, 5)
    assert features.intervals.tolist() == [[0.0, len(samples) / RATE]]
    return dict(zip(features.names, features.values[0].tolist(), strict=True))


@pytest.mark.parametrize(("peak", "lufs"), [(1.0, -3.01), (0.1, -23.01), (0.01, -43.01)])
def test_loudness_is_that_of_bs1770_and_level_that_of_a_sine(peak, lufs):
    # ITU-R BS.1770-4: a sine of 997 Hz at full scale in one channel reads -3.01 LKFS.
    found = measured(tone(peak=peak))
    assert found["loudness"] == pytest.approx(lufs, abs=0.1)
    assert found["level"] == pytest.approx(lufs, abs=0.02)
    assert found["peak"] == pytest.approx(20 * np.log10(peak), abs=0.02)


@pytest.mark.parametrize("snr", [5, 10, 20, 30, 40])
def test_the_signal_to_noise_ratio_is_near_the_one_that_was_mixed(snr):
    voice = bursts()
    power = np.mean(voice[: RATE // 2] ** 2)
    noise = np.random.default_rng(1).normal(size=len(voice)) * np.sqrt(power / 10 ** (snr / 10))
    assert measured(voice + noise)["snr"] == pytest.approx(snr, abs=2.5)


@pytest.mark.parametrize(("gain", "low", "high"), [(0.9, 0.0, 0.0), (1.5, 0.4, 0.6), (4.0, 0.8, 0.9)])
def test_the_clipped_share_is_that_of_samples_at_full_scale(gain, low, high):
    assert low <= measured(np.clip(gain * tone(), -1, 1))["clipped_share"] <= high


def test_silence_has_no_level_and_no_noise():
    found = measured(np.zeros(RATE))
    assert found.pop("clipped_share") == 0.0
    assert all(np.isnan(value) for value in found.values())


@pytest.mark.parametrize(("seconds", "defined"), [(0.39, False), (0.41, True)])
def test_loudness_needs_a_block_of_bs1770(seconds, defined):
    assert np.isfinite(measured(tone(seconds))["loudness"]) == defined


@pytest.mark.parametrize("count", [0, 319])
def test_sound_of_less_than_a_window_is_too_short(count):
    with pytest.raises(ClipError) as refused:
        measured(np.zeros(count))
    assert refused.value.code == "too_short"


def picture(side=200, seed=0):
    return np.random.default_rng(seed).integers(60, 200, (side, side, 3)).astype(np.uint8)


def of_face(pixels, box=None):
    height, width = pixels.shape[:2]
    frame = Frame(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24"))
    boxes = np.array([[0.0, 0.0, width, height] if box is None else box])
    return dict(
        zip(VisualQuality().names, QualityMeasure()(frame, boxes, np.zeros((1, 5, 2)))[0].tolist(), strict=True)
    )


def test_a_blurred_face_is_less_sharp_and_as_bright():
    import cv2

    sharp = cv2.resize(picture(28), (224, 224), interpolation=cv2.INTER_CUBIC)
    found = [of_face(cv2.GaussianBlur(sharp, (0, 0), sigma)) for sigma in (0.1, 3.0, 8.0)]
    sharpness = [one["face_sharpness"] for one in found]
    assert sharpness[0] > 2 * sharpness[1] > 4 * sharpness[2]
    assert found[0]["face_brightness"] == pytest.approx(found[2]["face_brightness"], abs=0.02)


def test_the_same_face_is_as_sharp_in_a_larger_picture():
    import cv2

    small = cv2.resize(picture(28), (224, 224), interpolation=cv2.INTER_CUBIC)
    large = cv2.resize(small, (896, 896), interpolation=cv2.INTER_CUBIC)
    assert of_face(large)["face_sharpness"] == pytest.approx(of_face(small)["face_sharpness"], rel=0.1)
    assert (of_face(small)["face_size"], of_face(large)["face_size"]) == (224, 896)


@pytest.mark.parametrize(("grey", "brightness"), [(0, 0.0), (128, 0.5), (255, 1.0)])
def test_an_even_face_has_its_brightness_and_no_contrast(grey, brightness):
    found = of_face(np.full((50, 40, 3), grey, np.uint8))
    assert found["face_brightness"] == pytest.approx(brightness, abs=0.01)
    assert (found["face_contrast"], found["face_sharpness"]) == (0.0, 0.0)


@pytest.mark.parametrize("box", [(-20, -20, 30, 30), (190, 150, 260, 260), (199.5, 10, 220, 30)])
def test_a_box_that_leaves_the_frame_is_measured_inside_it(box):
    found = of_face(picture(), box)
    assert all(np.isfinite(value) for value in found.values())


def test_a_clip_without_a_face_is_a_finding_and_no_failure():
    session = FaceSession(FaceConfig(), measures=VisualQuality().measures, pictures=False)
    session.add(FrameBatch.of(np.zeros((3, 48, 64, 3), np.uint8), np.arange(6).reshape(3, 2) / 10))
    features = VisualQuality()(session.finish())
    assert features.valid.tolist() == [False] * 3
    assert not features.values.any()


@pytest.fixture(scope="module")
def clip(shared):
    return shared / "data" / "grid" / "bbaf2n.mpg"


def faces_of(clip, *extractors, pictures):
    measures = [measure for extractor in extractors for measure in extractor.measures]
    session = FaceSession(FaceConfig(), measures=measures, pictures=pictures)
    decode(clip, audio=False, frames=[FrameRequest(5, session.add)], max_seconds=1.0)
    return session, session.finish()


def test_of_each_face_only_its_numbers_are_kept(clip):
    session, faces = faces_of(clip, VisualQuality(), pictures=False)
    for frame in session._frames:
        assert (frame.patches, frame._crops) == (None, [])
        assert {key: values.shape[1] for key, values in frame.measured.items()} == {"quality": 4}
    assert faces.crops.strides[0] == faces.patches.strides[0] == 0  # one black picture for all rows


def test_measures_beside_pictures_change_neither(clip):
    alone = faces_of(clip, VisualQuality(), pictures=False)[1]
    beside = faces_of(clip, VisualQuality(), pictures=True)[1]
    plain: Faces = faces_of(clip, pictures=True)[1]
    assert VisualQuality()(alone).equals(VisualQuality()(beside))
    assert Mtcnn()(beside).equals(Mtcnn()(plain))


def test_the_face_of_a_clip_has_the_size_of_its_box(clip):
    extractor = create("visual.quality")
    faces = faces_of(clip, extractor, pictures=False)[1]
    features = extractor(faces)
    sides = (faces.boxes[:, 2:] - faces.boxes[:, :2]) * (360, 288)
    assert features.values[:, 0] == pytest.approx(np.sqrt(sides.prod(1)), rel=1e-4)
    assert ((features.values[:, 2] > 0.2) & (features.values[:, 2] < 0.9)).all()
