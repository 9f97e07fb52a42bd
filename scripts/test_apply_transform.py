#!/usr/bin/env python3
"""Tests of apply_transform.py with a real PyTorch (Debian: apt-get install python3-torch python3-numpy).

Run: /usr/bin/python3 scripts/test_apply_transform.py
With OLAB_BIN=build/release/bin/olab transforms of the program itself are applied too: run, export, apply.
"""

import contextlib
import copy
import io
import json
import math
import os
import pickle
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np
import torch
from torch import nn

HERE = Path(__file__).resolve().parent
SCRIPT = HERE / "apply_transform.py"
sys.path.insert(0, str(HERE))
import apply_transform  # noqa: E402
from apply_transform import TransformError, apply_to_linear, apply_to_model, equivalence_error, load_layer, \
    load_transform  # noqa: E402
from record_activations import RecordingError  # noqa: E402

BOUND = 1e-5  # of the equivalence error in float32
CHANNELS = 24
DTYPES = {np.dtype("<f4"): "F32", np.dtype("<i8"): "I64", np.dtype("<f2"): "F16", np.dtype("<f8"): "F64"}


def write_safetensors(path, tensors, metadata):
    """A second, independent writing of the format."""
    header, body = {"__metadata__": metadata}, b""
    for name, values in tensors.items():
        raw = np.ascontiguousarray(values).tobytes()
        header[name] = {"dtype": DTYPES[values.dtype], "shape": list(values.shape),
                        "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def sylvester(n):
    return np.array([[1.0]]) if n == 1 else np.kron(np.array([[1, 1], [1, -1]]), sylvester(n // 2))


def random_orthogonal(n, random):
    return np.linalg.qr(random.standard_normal((n, n)))[0]


# Paley's matrix of order 12 by its definition: squares modulo 11.
def paley_12():
    squares = {a * a % 11 for a in range(1, 11)}
    h = np.ones((12, 12))
    for i in range(11):
        h[i + 1, 0] = -1
        for j in range(11):
            h[i + 1, j + 1] = 1 if i == j or (j - i) % 11 in squares else -1
    assert (h @ h.T == 12 * np.eye(12)).all()
    return h


def parts_of_every_kind():
    """[(kind, tensors, dense T)] over CHANNELS channels, T by definition, in float64."""
    random = np.random.default_rng(3)
    scale = np.exp(random.standard_normal(CHANNELS)).astype("<f4")
    order = random.permutation(CHANNELS)
    shared = random_orthogonal(8, random).astype("<f4")
    own = [random_orthogonal(8, random).astype("<f4") for _ in range(3)]
    signs = random.choice([-1.0, 1.0], CHANNELS).astype("<f4")
    blocks = np.zeros((CHANNELS, CHANNELS))
    for k, r in enumerate(own):
        blocks[8 * k:8 * k + 8, 8 * k:8 * k + 8] = r
    return [
        ("channel_scale", {"scale": scale[None]}, np.diag(1 / scale.astype(float))),
        ("permutation", {"order": order}, np.eye(CHANNELS)[:, order]),
        ("block_rotation", {"rotation": shared}, np.kron(np.eye(3), shared)),
        ("block_rotation", {"rotation": np.concatenate(own)}, blocks),
        ("hadamard", {"block": np.array([8])}, np.kron(np.eye(3), sylvester(8)) / math.sqrt(8)),
        ("hadamard", {"block": np.array([24]), "signs": signs[None], "core": paley_12().astype("<f4")},
         np.diag(signs) @ np.kron(paley_12(), sylvester(2)) / math.sqrt(24)),
    ]


def write_transform(path, parts, **changes):
    """`changes`: of the metadata; None leaves an entry out."""
    stages, tensors = [], {}
    for number, (kind, named, _) in enumerate(parts):
        names = {role: f"{number}.{kind}.{role}" for role in named}
        stages.append({"kind": kind, "tensors": names})
        if "core" in named:
            stages[-1]["odd_part"] = "hadamard"
        tensors.update({names[role]: values for role, values in named.items()})
    metadata = {"format": "outlierlab-transform", "format_version": "1", "channels": str(CHANNELS), "layer": "a.proj",
                "stages": json.dumps(stages), "method": "by hand"}
    metadata.update(changes)
    write_safetensors(path, tensors, {k: v for k, v in metadata.items() if v is not None})


def own_words(text):
    """What the script itself said: libraries below PyTorch grumble about processors that they do not know."""
    assert "Traceback" not in text, text
    return "".join(line for line in text.splitlines(True) if "cpuinfo" not in line)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.up_proj, self.down_proj = nn.Linear(16, CHANNELS), nn.Linear(CHANNELS, 16, bias=False)

    def forward(self, x):
        return x + self.down_proj(torch.relu(self.up_proj(x)))


class Model(nn.Module):
    """Named like a Hugging Face model; the last block stands there twice."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([Block(), Block()])
        self.layers.append(self.layers[1])

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def make():
    torch.manual_seed(5)
    return Model()


class Case(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = Path(holder.name)
        self.file = self.folder / "t.safetensors"
        torch.manual_seed(1)
        self.x = torch.randn(2, 9, CHANNELS) * torch.exp(torch.randn(CHANNELS))

    def transform(self, parts=None, **changes):
        write_transform(self.file, parts_of_every_kind() if parts is None else parts, **changes)
        return load_transform(self.file)

    def run_main(self, *arguments):
        out, error = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            try:
                status = apply_transform.main([str(a) for a in arguments])
            except SystemExit as stop:
                status = stop.code
        return status, out.getvalue(), own_words(error.getvalue())

    def assert_close(self, a, b, bound=1e-6):
        error = (a.double() - b.double()).norm() / b.double().norm()
        self.assertLess(error.item(), bound)


class Stages(Case):
    def test_every_kind_is_the_matrix_that_it_stands_for(self):
        w = torch.randn(5, CHANNELS)
        for part in parts_of_every_kind():
            with self.subTest(part[0], tensors=list(part[1])):
                transform = self.transform([part])
                dense = torch.from_numpy(part[2])
                self.assert_close(transform(self.x), self.x.double() @ dense)
                self.assert_close(transform.weights(w), w.double() @ torch.linalg.inv(dense).t())

    def test_stages_are_applied_in_their_order(self):
        parts = parts_of_every_kind()
        dense = torch.eye(CHANNELS, dtype=torch.float64)
        for part in parts:
            dense = dense @ torch.from_numpy(part[2])
        self.assert_close(self.transform(parts)(self.x), self.x.double() @ dense)
        swapped = [parts[1], parts[0]] + parts[2:]
        self.assertGreater((self.transform(swapped)(self.x) - self.transform(parts)(self.x)).norm().item(), 0.1)

    def test_an_empty_list_is_the_identity(self):
        transform = self.transform([])
        self.assertTrue(torch.equal(transform(self.x), self.x))
        self.assertEqual(equivalence_error(self.x, torch.randn(3, CHANNELS), transform), 0)

    def test_low_precision_is_rounded_once(self):
        transform = self.transform()
        for dtype in (torch.bfloat16, torch.float16):
            low = (self.x / 100).to(dtype)
            got = transform(low)
            self.assertEqual(got.dtype, dtype)
            self.assertTrue(torch.equal(got, transform(low.float()).to(dtype)))
            w = torch.randn(5, CHANNELS).to(dtype)
            self.assertTrue(torch.equal(transform.weights(w), transform.weights(w.double()).to(dtype)))

    def test_the_width_must_fit(self):
        with self.assertRaisesRegex(TransformError, "for 24 channels, but the values have 23"):
            self.transform()(torch.ones(2, 23))


class Linear(Case):
    def test_a_transformed_layer_gives_what_the_layer_gave(self):
        transform = self.transform()
        for bias in (True, False):
            linear = nn.Linear(CHANNELS, 7, bias=bias)
            before = linear.weight.detach().clone()
            made = apply_to_linear(linear, transform)
            self.assert_close(made(self.x), linear(self.x), BOUND)
            self.assertTrue(torch.equal(linear.weight, before), "the layer itself is left as it was")
            self.assertGreater((made.weight - before).norm().item(), 0.1)
            self.assertEqual((made.in_features, made.out_features, made.bias is None), (CHANNELS, 7, not bias))

    def test_a_weight_in_pieces_is_the_same(self):
        transform, w = self.transform(), torch.randn(50, CHANNELS)
        whole = transform.weights(w)
        apply_transform.WEIGHT_CHUNK_ITEMS, kept = 3 * CHANNELS, apply_transform.WEIGHT_CHUNK_ITEMS
        self.addCleanup(setattr, apply_transform, "WEIGHT_CHUNK_ITEMS", kept)
        self.assertTrue(torch.equal(transform.weights(w), whole))

    def test_conv1d_of_gpt2_is_turned(self):
        class Conv1D(nn.Module):  # as in transformers
            def __init__(self, nf, nx):
                super().__init__()
                self.nf, self.weight, self.bias = nf, nn.Parameter(torch.randn(nx, nf)), nn.Parameter(torch.randn(nf))

            def forward(self, x):
                return x @ self.weight + self.bias

        layer = Conv1D(7, CHANNELS)
        self.assert_close(apply_to_linear(layer, self.transform())(self.x), layer(self.x), BOUND)

    def test_casting_the_model_keeps_the_transform_in_float32(self):
        made = apply_to_linear(nn.Linear(CHANNELS, 7), self.transform())
        tensors = {name: tensor.clone() for name, tensor in made.transform.named_buffers()}
        made.to(torch.bfloat16)
        self.assertEqual(made.weight.dtype, torch.bfloat16)
        for name, tensor in made.transform.named_buffers():
            self.assertTrue(torch.equal(tensor, tensors[name]) and tensor.dtype == tensors[name].dtype, name)
        self.assertEqual(made(self.x.to(torch.bfloat16)).dtype, torch.bfloat16)

    def test_it_can_be_copied_pickled_and_loaded(self):
        made = apply_to_linear(nn.Linear(CHANNELS, 7), self.transform())
        want = made(self.x)
        for other in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
            self.assertTrue(torch.equal(other(self.x), want))
            self.assertIsInstance(other, apply_transform.TransformedLinear)
        fresh = apply_to_linear(nn.Linear(CHANNELS, 7), self.transform())
        fresh.load_state_dict(made.state_dict())
        self.assertTrue(torch.equal(fresh(self.x), want))

    def test_training_goes_on_through_it(self):
        made = apply_to_linear(nn.Linear(CHANNELS, 7), self.transform())
        x = self.x.clone().requires_grad_()
        made(x).square().sum().backward()
        self.assertGreater(made.weight.grad.norm().item(), 0)
        self.assertGreater(x.grad.norm().item(), 0)

    def test_refuses_what_cannot_be_transformed(self):
        transform = self.transform()
        with self.assertRaisesRegex(TransformError, "for 24 channels, but the layer has 23"):
            apply_to_linear(nn.Linear(23, 7), transform)
        with self.assertRaisesRegex(TransformError, "a ReLU is no linear layer"):
            apply_to_linear(nn.ReLU(), transform)
        with self.assertRaisesRegex(TransformError, r"not in memory \(offloaded\)"):
            apply_to_linear(nn.Linear(CHANNELS, 7, device="meta"), transform)
        quantized = nn.Linear(CHANNELS, 7)
        quantized.weight = nn.Parameter(torch.ones(7, CHANNELS, dtype=torch.int8), requires_grad=False)
        with self.assertRaisesRegex(TransformError, "torch.int8, not floating point"):
            apply_to_linear(quantized, transform)


class Models(Case):
    def test_named_layers_are_replaced_and_the_model_gives_the_same(self):
        model, x = make(), torch.randn(3, 16)
        want = model(x)
        self.assertEqual(apply_to_model(model, self.transform(), ["*.down_proj"]),
                         ["layers.0.down_proj", "layers.1.down_proj"])
        self.assert_close(model(x), want, BOUND)
        for layer in model.layers:
            self.assertIsInstance(layer.down_proj, apply_transform.TransformedLinear)
            self.assertIsInstance(layer.up_proj, nn.Linear)
        self.assertIs(model.layers[1], model.layers[2])

    def test_a_layer_under_two_names_is_replaced_at_both(self):
        model = nn.Module()
        model.a, model.b = nn.Linear(CHANNELS, 2), nn.Linear(CHANNELS, 3)
        model.c = model.a
        self.assertEqual(apply_to_model(model, self.transform(), ["a"]), ["a"])
        self.assertIsInstance(model.a, apply_transform.TransformedLinear)
        self.assertIs(model.c, model.a)
        self.assertIsInstance(model.b, nn.Linear)

    def test_without_patterns_the_transforms_own_layer_is_meant(self):
        model = make()
        self.assertEqual(apply_to_model(model, self.transform(layer="layers.0.down_proj")), ["layers.0.down_proj"])
        self.assertIsInstance(model.layers[1].down_proj, nn.Linear)
        with self.assertRaisesRegex(RecordingError, "no linear layer matches 'a.proj'"):
            apply_to_model(make(), self.transform())

    def test_nothing_is_replaced_where_one_layer_does_not_fit(self):
        model = make()
        with self.assertRaisesRegex(TransformError, "layer 'layers.0.up_proj': the transform is for 24 channels, but "
                                                    "the layer has 16"):
            apply_to_model(model, self.transform(), ["*"])
        self.assertFalse(any(isinstance(m, apply_transform.TransformedLinear) for m in model.modules()))
        with self.assertRaisesRegex(TransformError, "use apply_to_linear"):
            apply_to_model(nn.Linear(CHANNELS, 3), self.transform(), ["*"])


class Files(Case):
    def refused(self, pattern, **changes):
        with self.assertRaisesRegex(TransformError, pattern):
            self.transform(**changes)

    def stages(self, change):
        write_transform(self.file, parts_of_every_kind())
        stages = json.loads(apply_transform.read_safetensors(self.file)[0]["stages"])
        change(stages)
        return json.dumps(stages)

    def test_what_is_no_transform_is_refused(self):
        with self.assertRaisesRegex(TransformError, "cannot read .*nothing.safetensors: No such file"):
            load_transform(self.folder / "nothing.safetensors")
        for text in (b"", b"short", b"no tensors here, just text", struct.pack("<Q", 2) + b"[]"):
            self.file.write_bytes(text)
            with self.assertRaisesRegex(TransformError, "t.safetensors: "):
                load_transform(self.file)
        self.refused("it holds no transform: the metadata 'format' is None", format=None)
        self.refused("it holds no transform: the metadata 'format' is 'pt'", format="pt")
        self.refused("version 2 of the format, this script reads up to 1; use a newer", format_version="2")
        self.refused("the metadata 'format_version' is 'x', expected a whole number", format_version="x")
        self.refused("the metadata 'channels' is '', expected a whole number", channels=None)

    def test_a_truncated_file_is_refused(self):
        write_transform(self.file, parts_of_every_kind())
        self.file.write_bytes(self.file.read_bytes()[:-8])
        with self.assertRaisesRegex(TransformError, "does not lie where the header says; it is damaged"):
            load_transform(self.file)

    def test_a_damaged_list_of_stages_is_refused(self):
        self.refused("'stages' is no list", stages="{}")
        self.refused("the list of stages is damaged", stages="[{]")
        self.refused("the list of stages is damaged", stages='[{"kind": "permutation"}]')
        self.refused("the list of stages is damaged", stages="[3]")
        self.refused("no stage is called 'permutatin'; did you mean 'permutation'",
                     stages=self.stages(lambda s: s[1].update(kind="permutatin")))
        self.refused("no stage names the tensor '0.channel_scale.scale'; 5 stages are listed",
                     stages=self.stages(lambda s: s.pop(0)))
        self.refused("is not in the file, or belongs to another stage", stages=self.stages(lambda s: s.append(s[0])))
        self.refused("a permutation has no tensor 'signs'",
                     stages=self.stages(lambda s: s[1]["tensors"].update(signs="x")))

    def test_tensors_that_do_not_fit_are_refused(self):
        def refused(kind, role, values, pattern):
            parts = [part for part in parts_of_every_kind() if part[0] == kind][-1:]
            parts[0][1][role] = values
            with self.assertRaisesRegex(TransformError, pattern):
                self.transform(parts)

        refused("channel_scale", "scale", np.ones((1, 23), "<f4"), r"'scale' has shape \[1, 23\], expected \[1, 24\]")
        refused("permutation", "order", np.zeros(24, "<i8"), "'order' is no permutation of 24 channels")
        refused("permutation", "order", np.arange(23), r"'order' has shape \[23\]")
        refused("block_rotation", "rotation", np.ones((16, 8), "<f4"), "expected b x b, or one such matrix")
        refused("block_rotation", "rotation", np.eye(7, dtype="<f4"), "expected b x b, or one such matrix")
        refused("hadamard", "block", np.array([20]), "a block of 20 does not fit 24 channels and a core of order 12")
        refused("hadamard", "core", np.ones((12, 11), "<f4"), "expected a square matrix")

    def test_layers_of_a_file_and_of_a_folder(self):
        x, w = np.random.default_rng(1).standard_normal((2, 6, CHANNELS)).astype("<f4")
        write_safetensors(self.folder / "r.safetensors", {"a.x": x, "a.weight": w.astype("<f2"), "b.x": x}, {})
        got_x, got_w = load_layer(self.folder / "r.safetensors", "a", 4)
        self.assertTrue(np.array_equal(got_x, x[:4]) and np.array_equal(got_w, w.astype("<f2").astype("<f4")))
        self.assertIsNone(load_layer(self.folder / "r.safetensors", "b")[1])
        with self.assertRaisesRegex(TransformError, "it has no layer 'c'; known: a, b"):
            load_layer(self.folder / "r.safetensors", "c")
        with self.assertRaisesRegex(TransformError, "a recording was expected"):
            load_layer(self.folder, "a")
        np.save(self.folder / "w.npy", w)
        (self.folder / "manifest.json").write_text(json.dumps({"layers": [
            {"name": "a", "x": {"file": "r.safetensors", "tensor": "b.x"}, "weight": {"file": "w.npy", "tensor": "w"}}]}))
        got_x, got_w = load_layer(self.folder, "a")
        self.assertTrue(np.array_equal(got_x, x) and np.array_equal(got_w, w))
        # BF16: the upper half of a float.
        text = json.dumps({"a.x": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [0, 4]}}).encode()
        (self.folder / "b.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"\x80\x3f\x49\xc0")
        self.assertEqual(load_layer(self.folder / "b.safetensors", "a")[0].tolist(), [[1.0, -3.140625]])


class CommandLine(Case):
    def setUp(self):
        super().setUp()
        write_transform(self.file, parts_of_every_kind())
        w = np.random.default_rng(2).standard_normal((5, CHANNELS)).astype("<f4")
        self.recording = self.folder / "r.safetensors"
        write_safetensors(self.recording, {"a.proj.x": self.x.reshape(-1, CHANNELS).numpy(), "a.proj.weight": w,
                                           "b.x": w, "narrow.x": w[:, :20].copy()}, {})

    def test_it_tells_what_a_file_holds(self):
        status, out, error = self.run_main(self.file)
        self.assertEqual((status, error), (0, ""))
        for text in ("by hand", "a.proj", "channels           24", "hadamard", "core [12, 12]"):
            self.assertIn(text, out)

    def test_check_prints_the_error_of_the_product(self):
        status, out, error = self.run_main(self.file, "--check", self.recording)
        self.assertEqual((status, error), (0, ""))
        self.assertRegex(out, r"^a\.proj: equivalence error \d(\.\d+)?e-0[678] on 18 tokens\n$")
        status, out, _ = self.run_main(self.file, "--check", self.recording, "--layer", "b", "--tokens", 3)
        self.assertRegex(out, r"^b: equivalence error .* on 3 tokens; the recording has no W, so W = I\n$")
        self.assertEqual(status, 0)

    def test_a_transform_that_breaks_the_product_is_told_by_exit_status_1(self):
        # A rotation that is none.
        write_transform(self.file, [("block_rotation", {"rotation": 1.001 * np.eye(8, dtype="<f4")}, None)])
        status, out, error = self.run_main(self.file, "--check", self.recording)
        self.assertRegex(out, "equivalence error 0.002")
        self.assertEqual((status, error), (1, "apply_transform: the error is above 0.0001\n"))
        self.assertEqual(self.run_main(self.file, "--check", self.recording, "--bound", 0.01)[0], 0)

    def test_mistakes_get_one_line(self):
        for arguments, pattern in [
            ((self.folder / "no.safetensors",), "cannot read .*no.safetensors"),
            ((self.recording,), "it holds no transform"),
            ((self.file, "--check", self.folder / "none"), "a recording was expected"),
            ((self.file, "--check", self.recording, "--layer", "a.prj"), "did you mean 'a.proj'?"),
            ((self.file, "--check", self.recording, "--layer", "narrow"), "for 24 channels|has 20 channels"),
            ((self.file, "--check", self.recording, "--module", "m.py:make"), "leave out --model and --module"),
            ((self.file, "--module", "m.py:make"), "-o FILE.pt and a model"),
            ((self.file, "-o", "m.pt"), "-o FILE.pt and a model"),
            ((self.file, "--module", "m.py:make", "--model", "m", "-o", "m.pt"), "either a Hugging Face"),
            ((self.file, "--module", "none.py:make", "-o", "m.pt"), "there is no file none.py"),
        ]:
            with self.subTest(arguments):
                status, out, error = self.run_main(*arguments)
                self.assertEqual((status, out), (2, ""))
                self.assertRegex(error, pattern)
                self.assertEqual(len(error.splitlines()), 1, error)
        self.assertEqual(self.run_main(self.file, "--tokens", "0")[0], 2)

    def test_a_module_is_changed_and_its_weights_are_written(self):
        (self.folder / "tiny.py").write_text(
            f"import sys\nsys.path.insert(0, {str(HERE)!r})\nfrom test_apply_transform import make\n")
        status, out, error = self.run_main(self.file, "--module", f"{self.folder}/tiny.py:make", "--layers",
                                           "layers.{0,1}.down_proj", "-o", self.folder / "m.pt")
        self.assertEqual((status, error), (0, ""))
        self.assertIn("2 layers are transformed: layers.0.down_proj, layers.1.down_proj", out)
        model, x = make(), torch.randn(3, 16)
        want = model(x)
        apply_to_model(model, load_transform(self.file), ["*.down_proj"])
        for parameter in model.parameters():
            nn.init.zeros_(parameter)
        model.load_state_dict(torch.load(self.folder / "m.pt"))
        self.assert_close(model(x), want, BOUND)

    def test_help_answers_without_pytorch(self):
        code = ("import sys; sys.modules['torch'] = sys.modules['numpy'] = None; sys.argv[1:] = ['--help']; "
                f"import runpy; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')")
        done = subprocess.run([sys.executable, "-c", code], cwd=HERE, capture_output=True, text=True, timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for option in ("--check", "--layers", "--module", "--bound", "Exit status"):
            self.assertIn(option, done.stdout)


@unittest.skipUnless(os.environ.get("OLAB_BIN"), "OLAB_BIN names no olab program")
class RoundTrip(Case):
    """olab generate, run, export-transform; then here."""

    # method -> the kinds of its stages; 48 = 3 * 16 has a Hadamard matrix by Paley's of order 12
    METHODS = {
        "rtn": [],
        "smoothquant": ["channel_scale"],
        "hadamard(block_size=16)": ["hadamard"],
        "hadamard(block_size=full)": ["hadamard"],
        "hadamard(block_size=6,odd_part=hartley)": ["hadamard"],
        "rotate(block_size=8,steps=3,share_rotation=false)": ["block_rotation"],
        "duquant(block_size=16,search=exact,max_rotation_step=8)":
            ["channel_scale", "block_rotation", "permutation", "block_rotation"],
        "smooth | permute(zigzag,block_size=8) | hadamard(block_size=24)":
            ["channel_scale", "permutation", "hadamard"],
    }

    def olab(self, *arguments):
        program = Path(os.environ["OLAB_BIN"]).resolve()
        done = subprocess.run([program, *map(str, arguments)], cwd=self.folder, capture_output=True, text=True,
                              timeout=240)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_what_olab_exports_keeps_the_product_in_pytorch(self):
        self.olab("generate", "llama2-7b", "-o", "recording", "--layers", "*.1.*down_proj", "--tokens", 64,
                  "--in-features", 48, "--out-features", 20)
        methods = "".join(f'  - "{method}"\n' for method in self.METHODS)
        (self.folder / "study.yaml").write_text(
            "study: small\ndata: {recording: recording, calibration_tokens: 32, evaluation_tokens: 32}\n"
            f"quantizer: {{activation: {{bits: 4}}, weight: {{bits: 4}}}}\nmethods:\n{methods}metrics: nmse\n")
        self.olab("run", "study.yaml", "--quiet")
        runs = json.loads(self.olab("list", "runs", "--json"))
        self.assertEqual(len(runs), len(self.METHODS))
        for run, (method, kinds) in zip(sorted(runs, key=lambda r: int(r["id"])), self.METHODS.items()):
            with self.subTest(method):
                name = f"{run['id']}.safetensors"
                self.olab("export-transform", run["id"], "-o", name)
                transform = load_transform(self.folder / name)
                self.assertEqual(transform.kinds, kinds)
                self.assertEqual(transform.metadata["key"], run["key"])
                x, w = load_layer(self.folder / "recording", transform.metadata["layer"])
                self.assertEqual((tuple(x.shape), tuple(w.shape)), ((64, 48), (20, 48)))
                error = equivalence_error(x, w, transform)
                self.assertLess(error, BOUND)
                self.assertEqual(error == 0, not kinds)
                if kinds:
                    self.assertGreater((transform(x) - x).norm().item(), 1e-3 * x.norm().item())
                status, out, error = self.run_main(self.folder / name, "--check", self.folder / "recording")
                self.assertEqual((status, error), (0, ""))
                self.assertIn("equivalence error", out)
        # Once as the program that it is.
        done = subprocess.run([SCRIPT, name, "--check", "recording"], cwd=self.folder, capture_output=True, text=True,
                              timeout=300, env={**os.environ, "PATH": "/usr/bin:/bin"})
        self.assertEqual((done.returncode, own_words(done.stderr)), (0, ""))
        self.assertIn("equivalence error", done.stdout)

    def test_pytorch_transforms_as_olab_does(self):
        """The transformed activations have the statistics that olab stored: X T itself, not only the product."""
        self.olab("generate", "llama2-7b", "-o", "recording", "--layers", "*.1.*down_proj", "--tokens", 64,
                  "--in-features", 48, "--out-features", 20)
        methods = "".join(f'  - "{method}"\n' for method in self.METHODS)
        (self.folder / "study.yaml").write_text(
            "study: small\ndata: {recording: recording, calibration_tokens: 32, evaluation_tokens: 32}\n"
            f"methods:\n{methods}metrics: [absmax, kurtosis]\n")
        self.olab("run", "study.yaml", "--quiet")
        for run in json.loads(self.olab("list", "runs", "--json")):
            name = f"{run['id']}.safetensors"
            self.olab("export-transform", run["id"], "-o", name)
            x, w = load_layer(self.folder / "recording", run["layer"])
            transform = load_transform(self.folder / name)
            shown = json.loads(self.olab("show", run["id"], "--json"))
            shown = shown[0] if isinstance(shown, list) else shown
            for stage, values in (("transformed", transform(x)[32:]), ("weight_transformed", transform.weights(w))):
                values = values.double()
                centred = values - values.mean()
                kurtosis = (centred ** 4).mean() / (centred ** 2).mean() ** 2
                for key, want in (("absmax", values.abs().max().item()), ("kurtosis", kurtosis.item())):
                    stored = float(shown.get("values", shown)[f"{stage}.{key}"])
                    self.assertAlmostEqual(stored / want, 1, delta=1e-4, msg=f"{run['method']} {stage}.{key}")


if __name__ == "__main__":
    unittest.main()
