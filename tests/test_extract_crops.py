"""Extraction of features from crops, our own and official ones."""

import json
import logging
import os
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from blob_faces import BlobDetector, picture
from extraction import extract, make_extractor, write_clip
from media_files import AudioTrack, Image, make_clicks, write_media
from tiny_models import save_vision_backbone

from abawcli.config import Cropping
from abawcli.errors import AbawError, InputError, OutputError, UsageError
from abawcli.formats.features import read_features
from abawcli.formats.provenance import describe_input, provenance_path
from abawcli.formats.strategy import SubjectSegment
from abawcli.models.image_backbones import COMPACT_FACE_PREPROCESS
from abawcli.pipeline.feature_stream import Extractor
from abawcli.stages import crop as crop_stage
from abawcli.stages.crop import crop_folders, crop_video
from abawcli.stages.extract import extract_features, extract_files


@pytest.fixture
def extractor() -> Extractor:
    return make_extractor()


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_clip(tmp_path)


@pytest.fixture
def official(tmp_path: Path) -> Path:
    """Crops of frames 2, 3 and 7 of a video."""
    folder = tmp_path / "cropped_aligned" / "12-24-1920x1080_left"
    folder.mkdir(parents=True)
    for k in (2, 3, 7):
        cv2.imwrite(str(folder / f"{k:05d}.jpg"), np.full((112, 112, 3), 25 * k, np.uint8))
    return folder


def test_own_crops_give_what_the_video_gives(
    extractor: Extractor, video: Path, tmp_path: Path
) -> None:
    crop_video(video, tmp_path / "crops" / "v", detector=BlobDetector())
    direct = extract(video, extractor, tmp_path / "direct.safetensors")
    found = extract(tmp_path / "crops" / "v", extractor, tmp_path / "f.safetensors")
    for name in ("frame", "time_s", "has_visual", "has_audio", "audio"):
        np.testing.assert_array_equal(getattr(found, name), getattr(direct, name))
    np.testing.assert_allclose(found.box, direct.box, atol=1e-3)
    # a crop as a file has whole pixels and is compressed
    a, b = found.visual[:30].astype(float), direct.visual[:30].astype(float)
    alike = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert alike.min() > 0.9
    assert found.metadata.source and found.metadata.source.kind == "crops"
    assert found.metadata.source.audio == os.path.relpath(video)


def test_scales_of_crops_are_averaged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    video = write_media(tmp_path / "s.mkv", [picture(32)] * 5)
    eyes = {"visual": str(save_vision_backbone(tmp_path / "d"))}
    extractor = make_extractor("visual", **eyes)
    scales = (0.9, 1.2, 1.5)
    crop_video(video, tmp_path / "v", detector=BlobDetector(), cropping=Cropping(scales))
    (tmp_path / "v/subjects.txt").write_text("a note of the user")
    together = extract(tmp_path / "v", extractor, tmp_path / "f.safetensors").visual
    alone = []
    for scale in scales:
        crop_video(
            video, tmp_path / f"{scale}", detector=BlobDetector(), cropping=Cropping((scale,))
        )
        with caplog.at_level(logging.WARNING, "abawcli"):
            rows = extract(tmp_path / f"{scale}", extractor, tmp_path / f"{scale}.safetensors")
        assert (
            f"has crops of scale {scale}; the backbone needs those of `abaw crop --scale 0.9"
            in caplog.text
        )
        alone.append(rows.visual.astype(float))
    np.testing.assert_allclose(together, np.mean(alone, axis=0), atol=0.02 * np.abs(together).max())
    crop_video(video, tmp_path / "1.0", detector=BlobDetector())
    with pytest.raises(InputError, match="has crops of scale 1; the backbone needs those of"):
        extract_features(tmp_path / "1.0", tmp_path / "g.safetensors", extractor)


def test_crops_of_everybody_and_of_somebody(
    tmp_path: Path, extractor: Extractor, video: Path
) -> None:
    crop_video(video, tmp_path / "all", detector=BlobDetector(), subject="all")
    summary = extract_features(tmp_path / "all", tmp_path / "f" / "all.safetensors", extractor)
    assert summary.subjects == 2
    assert len(list((tmp_path / "f" / "all").glob("subject?.safetensors"))) == 2
    with pytest.raises(InputError, match="not record who is followed; crop again with --subject"):
        extract(tmp_path / "all", extractor, tmp_path / "r.st", subject="follow-largest")
    right = extract(tmp_path / "all", extractor, tmp_path / "r.safetensors", subject="right")
    assert right.has_visual.sum() == 40 and (right.box[:40, 0] > 64).all()
    crop_video(video, tmp_path / "left", detector=BlobDetector(), subject="left")
    assert (
        extract(tmp_path / "left", extractor, tmp_path / "l.safetensors").metadata.subject == "left"
    )
    with pytest.raises(InputError, match="crops of subject 'left', not 'main'; crop again"):
        extract_features(tmp_path / "left", tmp_path / "m.safetensors", extractor, subject="main")


def test_a_folder_within_crops_is_not_taken_for_official_ones(
    tmp_path: Path, extractor: Extractor, video: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for subject, inner in (("left", "1.0"), ("all", "subject0/1.0")):
        folder = tmp_path / subject
        crop_video(video, folder, detector=BlobDetector(), subject=subject)
        wrong = f"{folder / inner} is a part of the crops in {folder}; give that folder"
        with pytest.raises(InputError, match=re.escape(wrong)):
            extract_features(folder / inner, tmp_path / "f.safetensors", extractor)
    assert not caplog.records  # such as a warning that there is no audio


def test_crops_that_several_rows_chose(tmp_path: Path, extractor: Extractor, video: Path) -> None:
    rows = (SubjectSegment("left", 2, 10), SubjectSegment("track 1", 21, 30))
    crop_folders(video, {tmp_path / "v_left": rows}, detector=BlobDetector())
    found = extract(tmp_path / "v_left", extractor, tmp_path / "f.safetensors")
    assert found.metadata.subject == "strategy" and found.metadata.video == "v_left"
    assert np.flatnonzero(found.has_visual).tolist() == [*range(1, 10), *range(20, 30)]
    assert (found.box[1:10, 0] < 64).all() and (found.box[20:30, 0] > 64).all()


def test_rows_of_a_video_give_what_its_crops_give(
    tmp_path: Path, extractor: Extractor, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = (SubjectSegment("left", 2, 10), SubjectSegment("track 1", 21, 35))
    people = {"v_left": rows, "v_right": (SubjectSegment("right"),)}
    names = {name: tmp_path / f"{name}.safetensors" for name in people}
    extract_files(video, names, extractor, people)
    direct = {name: read_features(path) for name, path in names.items()}

    def compare(kind: str, cropping: Cropping) -> float:
        """Return the largest distance of features from those of crops, over their norm."""
        folders = {tmp_path / kind / name: segments for name, segments in people.items()}
        crop_folders(video, folders, detector=BlobDetector(), cropping=cropping)
        apart = []
        for name, one in direct.items():
            other = extract(tmp_path / kind / name, extractor, tmp_path / f"{kind}_{name}")
            assert one.metadata.video == other.metadata.video == name
            assert one.metadata.subject == other.metadata.subject
            for column in ("frame", "time_s", "has_visual", "has_audio", "audio"):
                np.testing.assert_array_equal(getattr(one, column), getattr(other, column))
            a, b = (x.visual[x.has_visual].astype(np.float32) for x in (one, other))
            apart.append(float((np.linalg.norm(a - b, axis=1) / np.linalg.norm(a, axis=1)).max()))
        return max(apart)

    assert np.flatnonzero(direct["v_left"].has_visual).tolist() == [*range(1, 10), *range(20, 35)]
    side = COMPACT_FACE_PREPROCESS.resize
    jpeg = compare("jpeg", Cropping(side=side))
    monkeypatch.setattr(crop_stage, "_write_jpeg", write_lossless)
    assert compare("png", Cropping(side=side)) == 0
    assert 0 < jpeg < 0.1  # compression alone; on these faces 0.04


def write_lossless(path: Path, image: Image, quality: int) -> None:
    """Write a crop under its usual name; readers go by the content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes())


def test_half_deleted_crops_are_refused(tmp_path: Path, extractor: Extractor, video: Path) -> None:
    crop_video(video, tmp_path / "v", detector=BlobDetector())
    for k in range(25, 31):
        (tmp_path / "v" / "1.0" / f"{k:05d}.jpg").unlink()
    message = (
        r"v: 6 of 30 pictures of faces in its faces\.parquet are missing, the first is 1\.0/00025"
    )
    with pytest.raises(InputError, match=message):
        extract_features(tmp_path / "v", tmp_path / "f.safetensors", extractor)
    crop_video(video, tmp_path / "all", detector=BlobDetector(), subject="all")
    (tmp_path / "all" / "subject1" / "1.0" / "00002.jpg").unlink()
    with pytest.raises(InputError, match=r"the first is subject1/1\.0/00002\.jpg"):
        extract_features(tmp_path / "all", tmp_path / "g.safetensors", extractor)
    assert not list(tmp_path.glob("?.safetensors"))


def test_crops_that_are_damaged_are_frames_without(
    tmp_path: Path, extractor: Extractor, video: Path, caplog: pytest.LogCaptureFixture
) -> None:
    crop_video(video, tmp_path / "v", detector=BlobDetector())
    (tmp_path / "v" / "1.0" / "00005.jpg").write_bytes(b"no picture")
    with caplog.at_level(logging.WARNING, "abawcli"):
        found = extract(tmp_path / "v", extractor, tmp_path / "f.safetensors")
    assert np.flatnonzero(~found.has_visual[:30]).tolist() == [4]
    assert "00005.jpg cannot be read" in caplog.text


def test_audio_of_crops_comes_from_elsewhere_or_not_at_all(
    tmp_path: Path, extractor: Extractor, video: Path, caplog: pytest.LogCaptureFixture
) -> None:
    crop_video(video, tmp_path / "crops" / "v", detector=BlobDetector())
    with_audio = extract(tmp_path / "crops" / "v", extractor, tmp_path / "a.safetensors")
    (tmp_path / "videos").mkdir()
    video.rename(tmp_path / "videos" / "v.mkv")
    settings = {"audio_from": tmp_path / "videos"}
    moved = extract(tmp_path / "crops" / "v", extractor, tmp_path / "b.safetensors", **settings)
    np.testing.assert_array_equal(moved.audio, with_audio.audio)
    # what was made while the video was there is still good
    assert not extract_features(
        tmp_path / "crops" / "v", tmp_path / "a.safetensors", extractor
    ).made
    with caplog.at_level(logging.WARNING, "abawcli"):
        mute = extract(tmp_path / "crops" / "v", extractor, tmp_path / "c.safetensors")
    assert not mute.has_audio.any() and "give --audio-from DIR" in caplog.text
    with pytest.raises(InputError, match="its audio is not found; give --audio-from DIR"):
        extract_features(
            tmp_path / "crops" / "v", tmp_path / "d.safetensors", make_extractor("audio")
        )


def test_official_crops_keep_their_gaps(
    tmp_path: Path, official: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "abawcli"):
        found = extract(official, make_extractor("visual"), tmp_path / "f.safetensors")
    assert found.frame.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert (np.flatnonzero(found.has_visual) + 1).tolist() == [2, 3, 7]
    assert np.isnan(found.time_s).all() and np.isnan(found.box).all()
    assert "without its video the times of its frames are unknown" in caplog.text
    metadata = found.metadata
    assert (metadata.video, metadata.subject) == ("12-24-1920x1080_left", "left")
    assert metadata.source and metadata.source.kind == "official crops"


@pytest.mark.parametrize("frames", [5, 9])
def test_official_crops_with_their_video(
    tmp_path: Path, extractor: Extractor, official: Path, frames: int
) -> None:
    """Up to two crops more than frames are at the last one's time, as annotations are."""
    (tmp_path / "videos" / "batch1").mkdir(parents=True)
    audio = AudioTrack([(0.0, make_clicks([0.1], 1.0, 48_000))], codec="pcm_s16le")
    write_media(
        tmp_path / "videos" / "batch1" / "12-24-1920x1080.avi",
        [picture()] * frames,
        codec="mpeg4",
        audio=audio,
    )
    settings = {"audio_from": tmp_path / "videos"}
    found = extract(official, extractor, tmp_path / "f.safetensors", **settings)
    times_s = np.arange(frames) / 25
    assert len(found.frame) == max(frames, 7)
    np.testing.assert_allclose(found.time_s[:frames], times_s)
    assert (found.time_s[frames:] == found.time_s[frames - 1]).all()
    assert found.has_audio.all() and found.has_visual.sum() == 3


def test_official_crops_that_are_wrong(
    tmp_path: Path, extractor: Extractor, official: Path
) -> None:
    def refuse(kind: type[Exception], message: str, **settings: object) -> None:
        with pytest.raises(kind, match=message):
            extract_features(official, tmp_path / "f.safetensors", extractor, **settings)  # type: ignore[arg-type]

    videos = {"audio_from": tmp_path / "videos"}
    refuse(UsageError, "no such folder: .*videos", **videos)
    (tmp_path / "videos").mkdir()
    path = write_media(tmp_path / "videos" / "12-24-1920x1080.mp4", [picture()] * 4)
    refuse(InputError, r"goes to frame 7, .*1080\.mp4 has only 4", **videos)
    path.with_suffix(".avi").write_bytes(path.read_bytes())
    refuse(InputError, "could both be the video of 12-24-1920x1080_left", **videos)
    refuse(UsageError, "shows one person only; leave out the subject 'all'", subject="all")
    (official / "7.png").write_bytes(b"")
    refuse(InputError, r"is frame 7; so is")
    (official / "7.png").rename(official / "0.png")
    refuse(InputError, r"0\.png is frame 0; frames are counted from 1")
    for file in official.iterdir():
        file.unlink()
    refuse(InputError, r"_left has no crops \(00001\.jpg and so on\)")


def test_features_do_not_depend_on_workers_and_one_that_dies_fails_its_input(
    tmp_path: Path, official: Path, video: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backbone = str(save_vision_backbone(tmp_path / "vit", "vit"))  # crops of three scales
    (official / "00003.jpg").write_bytes(b"")
    alone = make_extractor("visual", visual=backbone)
    several = make_extractor("visual", visual=backbone, workers=2)
    for path in (official, video):
        made = [tmp_path / f"{path.name}{n}.safetensors" for n in (1, 2)]
        for extractor, out in zip((alone, several), made, strict=True):
            caplog.clear()
            extract_features(path, out, extractor)
            assert ("00003.jpg cannot be read" in caplog.text) == (path is official)
        assert made[0].read_bytes() == made[1].read_bytes()
    pool = several.workers._pool
    assert pool and len(pool._processes) == 2
    for process in pool._processes.values():
        process.kill()
    with pytest.raises(AbawError, match=r"v.mkv: a process that prepared its crops was ended"):
        extract_features(video, made[1], several, overwrite=True)
    assert made[0].read_bytes() == made[1].read_bytes()  # what was there stays
    extract_features(video, made[1], several, overwrite=True)
    assert made[0].read_bytes() == made[1].read_bytes()


def test_a_track_is_a_subject(tmp_path: Path, extractor: Extractor, video: Path) -> None:
    right = extract(video, extractor, tmp_path / "r.safetensors", subject="track 1")
    assert right.metadata.subject == "track 1" and right.has_visual.any()
    assert (right.box[right.has_visual, 0] > 64).all()
    with pytest.raises(InputError, match="has no track 7; they are 0 to 1"):
        extract_features(video, tmp_path / "s.safetensors", extractor, subject="track 7")
    for subject in ("track", "skip"):
        with pytest.raises(UsageError, match="unknown subject"):
            extract_features(video, tmp_path / "s.safetensors", extractor, subject=subject)


def test_finished_work_is_skipped_and_stale_work_redone(
    tmp_path: Path, extractor: Extractor, official: Path, video: Path
) -> None:
    for path in (video, official):
        out = tmp_path / f"{path.name}.safetensors"
        assert extract_features(path, out, extractor).made
        assert not extract_features(path, out, extractor).made
        assert extract_features(path, out, extractor, overwrite=True).made
    cv2.imwrite(str(official / "00004.jpg"), np.full((112, 112, 3), 9, np.uint8))
    assert extract_features(official, out, extractor).made
    assert read_features(out).has_visual.sum() == 4
    other = make_extractor("visual")
    assert extract_features(official, out, other).made
    with pytest.raises(OutputError, match="was not made from this input"):
        extract_features(video, out, other)
    provenance = json.loads(provenance_path(out).read_text())
    assert provenance["command"] == "extract" and provenance["inputs"] == [describe_input(official)]
