"""Classifiers of other people: they answer here as they do in their own library."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tiny_classifiers import (
    FACE_CLASSIFIERS,
    FACE_LABELS,
    VOICE_CLASSIFIERS,
    VOICE_LABELS,
    save_face_classifier,
    save_onnx_classifier,
    save_voice_classifier,
)
from tiny_models import save_voice_encoder

from abawcli.config import COMPACT_VOICE, AudioFeatures, Classifiers
from abawcli.errors import CheckpointError, UsageError
from abawcli.faces.crop import resize_square
from abawcli.label_maps import map_labels, parse_label_map
from abawcli.labels import CLASSES, IGNORE
from abawcli.media.audio import Audio, read_audio
from abawcli.models import audio_backbones
from abawcli.models.classifier import AveragedClassifiers, MappedClassifier
from abawcli.models.classifiers import load_classifiers, load_face_classifier
from abawcli.models.hub_audio import load_hub_audio
from abawcli.models.preprocessing import prepare_crops
from abawcli.models.recipes import join_recipes
from abawcli.pipeline.audio_features import AudioEncoder

CPU = torch.device("cpu")
SAMPLES = Path(__file__).parents[1] / "sample_videos"
IMAGE = np.random.default_rng(1).integers(0, 256, (90, 90, 3), np.uint8)


@pytest.fixture
def speech_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let compact-voice take everything for speech."""
    path = save_voice_encoder(tmp_path / "voice.safetensors")
    found = audio_backbones.load_voice_backbone(path)
    monkeypatch.setitem(audio_backbones.AUDIO_BACKBONES, COMPACT_VOICE, lambda: found)


@pytest.mark.parametrize("kind", sorted(FACE_CLASSIFIERS))
def test_a_face_gets_the_logits_of_transformers(tmp_path: Path, kind: str) -> None:
    folder = save_face_classifier(tmp_path, kind)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    if kind == "deit":
        network = transformers.DeiTForImageClassificationWithTeacher.from_pretrained(folder)
    else:
        network = transformers.AutoModelForImageClassification.from_pretrained(folder)
    backbone, layer, metadata = load_face_classifier(f"hf:{folder}")
    how = backbone.preprocess
    with torch.inference_mode():
        expected = network.eval()(**processor(IMAGE, return_tensors="pt")).logits
        crop = resize_square(IMAGE, how.resize, how.resample)[None]
        found = layer.linear(backbone.eval()(prepare_crops(crop, how)))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert layer.labels == list(FACE_LABELS) and expected.std() > 1e-4
    assert metadata.dim == layer.linear.in_features and len(metadata.sha256 or "") == 64


@pytest.mark.parametrize("kind", sorted(VOICE_CLASSIFIERS))
def test_a_clip_gets_the_logits_of_transformers(
    tmp_path: Path, kind: str, speech_everywhere: None
) -> None:
    folder = save_voice_classifier(tmp_path / "model", kind)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    network = transformers.AutoModelForAudioClassification.from_pretrained(folder).eval()
    backbone, layer = load_hub_audio(f"hf:{folder}")
    samples = torch.randn(4 * 16000, generator=torch.Generator().manual_seed(0)) / 10
    with torch.inference_mode():
        features, speech = backbone.encode(samples)  # a step of 0.48 s
        found = layer.linear(features)
        clips = [samples[:48000], samples[2880:50880], samples[16000:]]
        inputs = extractor([c.numpy() for c in clips], sampling_rate=16000, return_tensors="pt")
        expected = network(**inputs).logits
    assert found.shape == (8, 4) and speech.all() and layer.labels == list(VOICE_LABELS)
    torch.testing.assert_close(found[[0, 7]], expected[[0, 2]], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(found[3], expected[1], atol=1e-4, rtol=1e-3)


def test_clips_are_the_same_whatever_the_chunks(tmp_path: Path, speech_everywhere: None) -> None:
    folder = save_voice_classifier(tmp_path / "model", "hubert")
    samples = (np.random.default_rng(0).normal(size=16000 * 15) / 10).astype(np.float32)
    made = []
    for chunk_s in (9.0, 12.0, 60.0):
        backbone, _ = load_hub_audio(f"hf:{folder}")
        encoder = AudioEncoder(backbone, CPU, AudioFeatures(chunk_s=chunk_s))
        encoder.backbone.float()
        chunks = encoder.encode_blocks([Audio(samples, 0.0)])
        made.append(np.concatenate([chunk.features for chunk in chunks]))
    assert made[0].shape == (31, made[0].shape[1])
    np.testing.assert_allclose(made[0], made[2], atol=1e-5)
    np.testing.assert_allclose(made[1], made[2], atol=1e-5)


def test_the_same_clips_have_speech_whatever_the_chunks(tmp_path: Path) -> None:
    speech = read_audio(SAMPLES / "expressions.mp4")
    assert speech is not None
    backbone, _ = load_hub_audio(f"hf:{save_voice_classifier(tmp_path / 'model', 'hubert')}")
    noise = np.random.default_rng(0).normal(0, 0.01, 3 * len(speech.samples))
    samples = (np.tile(speech.samples, 3) + noise).astype(np.float32)
    spoken = []
    for chunk_s in (10.0, 60.0):
        encoder = AudioEncoder(backbone, CPU, AudioFeatures(chunk_s=chunk_s))
        chunks = list(encoder.encode_blocks([Audio(samples, 0.0)]))
        spoken.append(np.concatenate([chunk.speech for chunk in chunks]))
    assert 0.2 < spoken[1].mean() < 0.8
    np.testing.assert_array_equal(spoken[0], spoken[1])


def test_without_speech_a_voice_says_nothing(tmp_path: Path) -> None:
    backbone, _ = load_hub_audio(f"hf:{save_voice_classifier(tmp_path)}")
    features, speech = backbone.encode(torch.zeros(5 * 16000))
    assert not speech.any() and not features.any() and len(features) == 10


def test_label_names_of_other_sets(caplog: pytest.LogCaptureFixture) -> None:
    names = ["Angry", "ang", "HAP", "happiness", "neu", "contempt", "Fear", "surprised", "dis"]
    found = map_labels(names, {}, "m")
    assert [CLASSES[k] for k in found] == [
        "Anger", "Anger", "Happiness", "Happiness", "Neutral", "Other", "Fear", "Surprise",
        "Disgust",
    ]  # fmt: skip
    assert "m has no label for Sadness, whose probability is 0" in caplog.text
    given = parse_label_map("LABEL_0 = Anger, Noise=none,happy=Surprise")
    assert map_labels(["LABEL_0", "noise", "Happy", "valence"], given, "m") == [
        1,
        IGNORE,
        6,
        IGNORE,
    ]


def test_labels_without_a_class_are_listed() -> None:
    with pytest.raises(UsageError, match="m has labels that are no class here: LABEL_0, bored; "):
        map_labels(["LABEL_0", "happy", "bored"], {}, "m")
    with pytest.raises(UsageError, match="all labels of m are mapped to none"):
        map_labels(["a", "b"], {"a": "none", "b": "none"}, "m")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a=Anger,a=Fear", "the label 'a' is mapped twice"),
        ("a", "'a' is no label and class"),
        ("a=", "'a=' is no label and class"),
        ("a=Rage", "unknown class 'Rage' of a label; choose one of Neutral.*none"),
    ],
)
def test_a_label_map_that_is_none(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        parse_label_map(text)


def classify(layer: torch.nn.Linear, classes: list[int], temperature: float = 1.0) -> np.ndarray:
    return MappedClassifier(layer, classes, temperature)(torch.eye(4)).detach().numpy()


def test_probabilities_of_labels_become_those_of_classes() -> None:
    layer = torch.nn.Linear(4, 4, bias=False)
    own = layer(torch.eye(4)).softmax(dim=1).detach().numpy()
    p = classify(layer, [4, 1, 4, 0])
    np.testing.assert_allclose(p[:, 4], own[:, 0] + own[:, 2], atol=1e-6)
    np.testing.assert_allclose(p[:, [1, 0]], own[:, [1, 3]], atol=1e-6)
    assert not p[:, [2, 3, 5, 6, 7]].any()
    left_out = classify(layer, [4, 1, IGNORE, 0])  # the others share its probability
    np.testing.assert_allclose(left_out[:, 4], own[:, 0] / (1 - own[:, 2]), atol=1e-6)
    warm = classify(layer, [0, 1, 2, 3], temperature=100.0)
    assert np.ptp(warm[:, :4]) < 0.02 < np.ptp(classify(layer, [0, 1, 2, 3])[:, :4])


LOGITS = arrays.arrays(np.float32, 8, elements=st.floats(-9, 9, width=32))


@given(
    LOGITS,
    LOGITS,
    st.sets(st.integers(0, 7), min_size=1),
    st.sets(st.integers(0, 7), min_size=1),
    st.booleans(),
    st.booleans(),
)
def test_an_average_is_a_distribution_and_no_class_is_held_against_its_lack(
    face: np.ndarray, voice: np.ndarray, seen: set[int], spoken: set[int], has_v: bool, has_a: bool
) -> None:
    def make(known: set[int]) -> MappedClassifier:
        linear = torch.nn.Linear(8, 8, bias=False)
        torch.nn.init.eye_(linear.weight)
        return MappedClassifier(linear, [k if k in known else IGNORE for k in range(8)])

    classifiers = {"visual": make(seen), "audio": make(spoken)}
    head = AveragedClassifiers(classifiers)
    values = [torch.from_numpy(x)[None] for x in (face, voice)]
    masks = [torch.tensor([has]) for has in (has_v, has_a)]
    with torch.inference_mode():
        p = head(*values, *masks).softmax(dim=-1)[0].numpy()
        own = [
            classifiers[m](v)[0].numpy() for m, v in zip(("visual", "audio"), values, strict=True)
        ]
    if not (has_v or has_a):
        assert np.isnan(p).all()
        return
    assert abs(p.sum() - 1) < 1e-5 and (p >= 0).all()
    if has_v != has_a:
        np.testing.assert_allclose(p, own[0] if has_v else own[1], atol=1e-5)
    elif seen == spoken:
        np.testing.assert_allclose(p, (own[0] + own[1]) / 2, atol=1e-5)
    else:  # what only the face knows keeps the face's probability
        only = sorted(seen - spoken)
        if spoken < seen:
            np.testing.assert_allclose(p[only], own[0][only], atol=1e-5)


def test_two_classifiers_are_one_recipe(tmp_path: Path) -> None:
    face = f"hf:{save_face_classifier(tmp_path / 'face')}"
    voice = f"hf:{save_voice_classifier(tmp_path / 'voice')}"
    recipe = join_recipes([voice, face])
    assert recipe.classifiers == {"audio": voice, "visual": face}
    head, metadata, _ = load_classifiers(
        recipe.classifiers, Classifiers(temperatures=(2.0, 1.0)), CPU
    )
    assert head.head.uses == ("visual", "audio")
    assert head.head.classifiers["audio"].temperature == 2.0
    assert metadata.backbones.visual and metadata.backbones.audio
    for several, problem in [
        ([face, f"hf:{save_face_classifier(tmp_path / 'other')}"], "are both visual; predict"),
        ([face, "compact"], "compact is no hf: or .onnx classifier"),
    ]:
        with pytest.raises(UsageError, match=problem):
            join_recipes(several)


def rewrite(path: Path, **changes: object) -> None:
    values = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in (values | changes).items() if v is not None}))


def test_a_classifier_that_is_none(tmp_path: Path) -> None:
    def check(name: str, problem: str) -> None:
        with pytest.raises(CheckpointError, match=problem) as caught:
            load_classifiers({join_recipes([name]).name and "visual": name}, Classifiers(), CPU)
        assert "\n" not in str(caught.value)

    check("hf:", "'hf:' names no model; give hf:OWNER/NAME or hf:FOLDER")
    check("hf:nobody/nowhere", "hf download nobody/nowhere")
    check(f"hf:{tmp_path}/nowhere", "no such backbone folder: .*nowhere")
    folder = save_face_classifier(tmp_path / "a")
    rewrite(folder / "config.json", model_type="bert")
    check(f"hf:{folder}", "is 'bert', no classifier of images or audio")
    folder = save_face_classifier(tmp_path / "b")
    (folder / "model.safetensors").write_bytes(b"nothing")
    check(f"hf:{folder}", "cannot load the backbone")
    folder = save_face_classifier(tmp_path / "c")
    (folder / "preprocessor_config.json").unlink()
    check(f"hf:{folder}", "cannot load the backbone .*")
    folder = save_face_classifier(tmp_path / "d")
    rewrite(folder / "preprocessor_config.json", image_processor_type="LevitImageProcessor")
    check(f"hf:{folder}", "LevitImageProcessor prepares images in a way that is not known here")
    folder = tmp_path / "e"
    config = transformers.ViTConfig.from_pretrained(save_face_classifier(folder))
    transformers.ViTModel(config).save_pretrained(folder)  # a backbone, without a classifier
    check(f"hf:{folder}", "lack classifier.bias and 1 more")


def test_a_voice_classifier_that_is_none(tmp_path: Path) -> None:
    folder = save_voice_classifier(tmp_path / "a")
    rewrite(folder / "preprocessor_config.json", sampling_rate=8000)
    with pytest.raises(CheckpointError, match="wants audio at 8000 Hz; here it has 16000 Hz"):
        load_hub_audio(f"hf:{folder}")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match="cannot load the backbone"):
        load_hub_audio(f"hf:{folder}")
    with pytest.raises(CheckpointError, match="is no classifier of audio input"):
        load_hub_audio(f"hf:{save_face_classifier(tmp_path / 'b')}")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (Classifiers(temperatures=(0.0,)), "--temperatures 0: give a positive number"),
        (Classifiers(temperatures=(1.0, 2.0)), "--temperatures 1,2: .* each of the 1 recipes"),
        (Classifiers({"glee": "Happiness"}), "no label 'glee'; there are angry, disgust"),
    ],
)
def test_settings_of_a_classifier_that_do_not_fit(
    tmp_path: Path, settings: Classifiers, problem: str
) -> None:
    face = f"hf:{save_face_classifier(tmp_path)}"
    with pytest.raises(UsageError, match=problem):
        load_classifiers({"visual": face}, settings, CPU)


@pytest.mark.parametrize(
    ("name", "outputs", "side", "labels"),
    [
        ("enet_b0_8_best_vgaf.onnx", 8, 224, ["Anger", "Contempt", "Surprise"]),
        ("enet_b2_7.onnx", 7, "side", ["Anger", "Disgust", "Surprise"]),
        ("mbf_va_mtl.onnx", 10, 112, ["Anger", "Contempt", "arousal"]),
        ("ddamfnet.onnx", 4, 112, ["0", "1", "3"]),
    ],
)
def test_onnx_models_of_emotiefflib(
    tmp_path: Path, name: str, outputs: int, side: int | str, labels: list[str]
) -> None:
    path = str(save_onnx_classifier(tmp_path / name, outputs, side))
    backbone, layer, metadata = load_face_classifier(path)
    assert [layer.labels[k] for k in (0, 1, -1)] == labels and len(layer.labels) == outputs
    how = backbone.preprocess
    assert how.size == {"enet_b0": 224, "enet_b2": 260}.get(name[:7], 112)
    crop = resize_square(IMAGE, how.resize, how.resample)[None]
    weight = np.random.default_rng(0).normal(size=(3, outputs)).astype(np.float32)
    mean = (crop[0].mean(axis=(0, 1)) / 255 - how.mean) / how.std
    found = layer.linear(backbone(prepare_crops(crop, how))).detach()
    np.testing.assert_allclose(found[0], mean @ weight, atol=1e-3)
    assert metadata.path == path and backbone.computes_float32


def test_the_input_of_any_onnx_file(tmp_path: Path) -> None:
    path = str(save_onnx_classifier(tmp_path / "mine.onnx", 3, 64))
    backbone, layer, metadata = load_face_classifier(path, "64:0.1,0.2,0.3:1,0.5,0.25")
    how = backbone.preprocess
    assert (how.size, how.mean, how.std) == (64, (0.1, 0.2, 0.3), (1, 0.5, 0.25))
    assert layer.labels == ["0", "1", "2"]
    again, _, _ = load_face_classifier(path, metadata.preprocess)  # as a head remembers it
    assert again.preprocess == how


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (None, "does not say what its input is; give --onnx-input"),
        ("b9", "--onnx-input 'b9' is not one of enet_b0"),
        ("64:0,0,0:1,1", "is not one of"),
        ("0:0,0,0:1,1,1", "must be positive"),
        ("64:0,0,0:1,0,1", "must be positive"),
    ],
)
def test_an_input_of_an_onnx_file_that_is_none(
    tmp_path: Path, given: str | None, problem: str
) -> None:
    path = save_onnx_classifier(tmp_path / "mine.onnx", 3, 64)
    with pytest.raises(UsageError, match=problem):
        load_face_classifier(str(path), given)


def test_an_onnx_file_that_is_none(tmp_path: Path) -> None:
    path = save_onnx_classifier(tmp_path / "mine.onnx", 3, 64)
    with pytest.raises(CheckpointError, match="takes images of 64 pixels, not 224"):
        load_face_classifier(str(path), "enet_b0")
    with pytest.raises(CheckpointError, match="no such file: .*none.onnx"):
        load_face_classifier(str(tmp_path / "none.onnx"), "enet_b0")
    path.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="is no ONNX file that can be run"):
        load_face_classifier(str(path), "enet_b0")
