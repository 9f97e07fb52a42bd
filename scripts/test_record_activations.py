#!/usr/bin/env python3
"""Tests of record_activations.py with a real PyTorch (Debian: apt-get install python3-torch python3-numpy).

Run: /usr/bin/python3 scripts/test_record_activations.py
With OLAB_BIN=build/release/bin/olab a recording is also read back by the program itself.
"""

import contextlib
import io
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest
from pathlib import Path

import numpy as np
import torch
from torch import nn

HERE = Path(__file__).resolve().parent
SCRIPT = HERE / "record_activations.py"
sys.path.insert(0, str(HERE))
import record_activations  # noqa: E402
from record_activations import RecordingError, choose_layers, record, sequences  # noqa: E402

# One small model of LLaMA's shape, kept as text so that the command line can load it from a file too.
MODEL = '''
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.gate_proj, self.up_proj = nn.Linear(width, hidden), nn.Linear(width, hidden)
        self.down_proj = nn.Linear(hidden, width)

    def forward(self, x):
        h = self.norm(x)
        q, k, v = self.q_proj(h), self.k_proj(h), self.v_proj(h)
        mask = torch.full((h.shape[-2], h.shape[-2]), -1e9).triu(1)
        x = x + self.o_proj(torch.softmax(q @ k.transpose(-1, -2) + mask, -1) @ v)
        h = self.norm(x)
        return x + self.down_proj(torch.nn.functional.silu(self.gate_proj(h)) * self.up_proj(h))


class Model(nn.Module):
    def __init__(self, width=16, hidden=24, blocks=2, words=50):
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.layers = nn.ModuleList(Block(width, hidden) for _ in range(blocks))
        self.lm_head = nn.Linear(width, words, bias=False)

    def forward(self, input_ids):
        x = self.embed(input_ids)
        for layer in self.layers:
            x = layer(x)
        return self.lm_head(x)


def make():
    torch.manual_seed(7)
    return Model()


def a_number():
    return 3


def broken():
    raise ValueError("no such weights")


class Slow(Model):
    def forward(self, input_ids):
        import time
        time.sleep(0.05)
        return super().forward(input_ids)


def slow():
    return Slow()
'''
namespace = {}
exec(MODEL, namespace)
make = namespace["make"]

TORCH = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
NAMES = {"bf16": "BF16", "fp16": "F16", "fp32": "F32"}


def read_safetensors(path):
    """A second, independent reading of the format: {tensor: (dtype, shape, bytes)}, strict about the layout."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    body = data[8 + length:]
    found, expected = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        assert begin == expected, "hole or overlap"
        found[name] = (entry["dtype"], entry["shape"], body[begin:end])
        expected = end
    assert expected == len(body), f"{len(body) - expected} bytes after the last tensor"
    return found


def raw(tensor, dtype):
    """The little-endian bytes of a tensor in `dtype`, by way of a storage dump instead of NumPy views."""
    cast = tensor.detach().to(TORCH[dtype]).contiguous()
    width = cast.element_size()
    if width == 4:
        return struct.pack(f"<{cast.numel()}f", *cast.flatten().tolist())
    if dtype == "fp16":
        return struct.pack(f"<{cast.numel()}e", *cast.flatten().tolist())
    # bf16 is the upper half of the float of equal value.
    return b"".join(struct.pack("<f", value)[2:] for value in cast.flatten().tolist())


def inputs_by_plain_hooks(module, batches):
    """What each linear layer receives, as one fp32 tensor, gathered with nothing of the script."""
    seen, handles = {}, []
    for name, part in module.named_modules():
        if isinstance(part, nn.Linear):
            handles.append(part.register_forward_hook(
                lambda _m, i, _o, name=name: seen.setdefault(name, []).append(i[0].detach().flatten(0, -2).clone())))
    with torch.no_grad():
        for batch in batches:
            module(batch)
    for handle in handles:
        handle.remove()
    return {name: torch.cat(parts) for name, parts in seen.items()}


def ids(*shape, seed=1):
    return torch.randint(0, 50, shape, generator=torch.Generator().manual_seed(seed))


def own_words(text):
    """What the script itself said: libraries below PyTorch grumble about processors that they do not know."""
    assert "Traceback" not in text, text
    return "".join(line for line in text.splitlines(True) if "cpuinfo" not in line)


class Case(unittest.TestCase):
    def setUp(self):
        self.holder = tempfile.TemporaryDirectory()
        self.addCleanup(self.holder.cleanup)
        self.folder = Path(self.holder.name)
        self.out = self.folder / "recording"
        self.notes = []

    def record(self, module, batches, **options):
        options.setdefault("out", self.out)
        return record(module, batches, note=self.notes.append, **options)

    def manifest(self):
        return json.loads((self.out / "manifest.json").read_text("utf-8"))

    def tensor(self, reference):
        return read_safetensors(self.out / reference["file"])[reference["tensor"]]

    def values(self, reference):
        """The tensor as fp32."""
        dtype, shape, body = self.tensor(reference)
        if dtype == "BF16":
            flat = (np.frombuffer(body, "<u2").astype("<u4") << 16).view("<f4")
        else:
            flat = np.frombuffer(body, {"F16": "<f2", "F32": "<f4"}[dtype]).astype("<f4")
        return torch.from_numpy(flat.reshape(shape).copy())

    def assert_nothing_left(self):
        self.assertFalse(self.out.exists())
        self.assertEqual([p.name for p in self.folder.iterdir() if "partial" in p.name], [])


class Bytes(Case):
    def test_every_dtype_holds_exactly_what_plain_hooks_see(self):
        for dtype in ("bf16", "fp16", "fp32"):
            with self.subTest(dtype):
                module = make().eval()
                batches = [ids(1, 12, seed=s) for s in (1, 2, 3)]
                expected = inputs_by_plain_hooks(module, batches)
                self.out = self.folder / dtype
                manifest = self.record(module, batches, tokens=30, dtype=dtype, model="tiny", source="random ids")
                self.assertEqual(manifest, self.manifest())
                self.assertEqual(manifest["format"], "outlierlab-recording")
                self.assertEqual(manifest["version"], 1)
                self.assertEqual((manifest["model"], manifest["source"], manifest["tokens"]), ("tiny", "random ids", 30))
                self.assertTrue(all(isinstance(v, str) for v in manifest["provenance"].values()))
                names = [layer["name"] for layer in manifest["layers"]]
                self.assertEqual(names, [n for n, m in module.named_modules() if isinstance(m, nn.Linear)])
                for layer in manifest["layers"]:
                    x = expected[layer["name"]][:30]
                    self.assertEqual(self.tensor(layer["x"]), (NAMES[dtype], list(x.shape), raw(x, dtype)))
                    weight = module.get_submodule(layer["name"]).weight
                    self.assertEqual(self.tensor(layer["weight"]), (NAMES[dtype], list(weight.shape), raw(weight, dtype)))
                    self.assertEqual(layer["tokens"], 30)
                    self.assertEqual((layer["out_features"], layer["in_features"]), tuple(weight.shape))
                self.assertEqual(self.notes, [])

    def test_rounding_is_to_nearest_with_ties_to_even(self):
        linear = nn.Linear(4, 1)
        # Halfway between neighbours of bf16 (8 bits of precision): 1 + 1/256 goes down, 1 + 3/256 goes up.
        x = torch.tensor([[1 + 1 / 256, 1 + 3 / 256, -1 - 3 / 256, 2.0**-130]])
        self.record(linear, [x], tokens=1, dtype="bf16")
        _, _, body = self.tensor(self.manifest()["layers"][0]["x"])
        self.assertEqual(struct.unpack("<4H", body), (0x3F80, 0x3F82, 0xBF82, 0x0008))

    def test_data_start_at_a_multiple_of_64_bytes(self):
        self.record(make(), [ids(1, 5)], tokens=5)
        for path in self.out.glob("*.safetensors"):
            (length,) = struct.unpack("<Q", path.read_bytes()[:8])
            self.assertEqual((8 + length) % 64, 0, path.name)

    def test_a_weight_written_in_pieces_is_the_same(self):
        whole = record_activations.WEIGHT_CHUNK_ITEMS
        self.addCleanup(setattr, record_activations, "WEIGHT_CHUNK_ITEMS", whole)
        record_activations.WEIGHT_CHUNK_ITEMS = 40  # two rows of 16 at a time
        module = make()
        self.record(module, [ids(1, 4)], tokens=4, layers=["lm_head"])
        self.assertEqual(self.tensor(self.manifest()["layers"][0]["weight"])[2], raw(module.lm_head.weight, "bf16"))

    def test_batches_may_be_tuples_or_keywords_and_have_several_sequences(self):
        module = make().eval()
        batch = ids(3, 4)
        expected = inputs_by_plain_hooks(module, [batch])["lm_head"]
        for name, given in (("tuple", (batch,)), ("dict", {"input_ids": batch})):
            self.out = self.folder / name
            self.record(module, [given], tokens=12, layers=["lm_head"], dtype="fp32")
            self.assertEqual(self.tensor(self.manifest()["layers"][0]["x"])[2], raw(expected, "fp32"))

    def test_a_bare_linear_layer_is_recorded_as_linear(self):
        self.record(nn.Linear(3, 2), [torch.ones(4, 3)], tokens=4)
        self.assertEqual(self.manifest()["layers"][0]["name"], "linear")

    def test_conv1d_of_gpt2_is_recorded_with_its_weight_turned(self):
        class Conv1D(nn.Module):  # as in transformers.pytorch_utils
            def __init__(self, nf, nx):
                super().__init__()
                self.nf = nf
                self.weight = nn.Parameter(torch.arange(float(nx * nf)).reshape(nx, nf))

            def forward(self, x):
                return x @ self.weight

        module = nn.Sequential(Conv1D(3, 2))
        self.record(module, [torch.ones(1, 5, 2)], tokens=5, dtype="fp32")
        layer = self.manifest()["layers"][0]
        self.assertEqual((layer["in_features"], layer["out_features"]), (2, 3))
        self.assertEqual(self.values(layer["weight"]).tolist(), [[0, 3], [1, 4], [2, 5]])

    def test_no_weights_leaves_them_out(self):
        self.record(make(), [ids(1, 5)], tokens=5, weights=False)
        self.assertNotIn("weight", json.dumps(self.manifest()["layers"]))
        self.assertEqual(list(self.out.glob("*.weight.*")), [])


class Sharing(Case):
    def files(self):
        return {layer["name"]: layer["x"]["file"] for layer in self.manifest()["layers"]}

    def test_qkv_and_gate_up_share_one_file_each(self):
        self.record(make(), [ids(1, 8), ids(1, 8, seed=2)], tokens=16)
        files = self.files()
        for block in ("layers.0", "layers.1"):
            q, k, v, o = (files[f"{block}.{n}_proj"] for n in "qkvo")
            gate, up, down = (files[f"{block}.{n}_proj"] for n in ("gate", "up", "down"))
            self.assertEqual((q, gate), (k, up))
            self.assertEqual(q, v)
            self.assertEqual(len({q, o, gate, down}), 4)
        self.assertEqual(len(set(files.values())), 9)
        on_disk = {path.name for path in self.out.glob("*.safetensors") if "weight" not in path.name}
        self.assertEqual(on_disk, set(files.values()))

    def test_equal_values_in_different_tensors_are_not_confused_with_sharing(self):
        class Twins(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

            def forward(self, x):
                self.a(x)
                x.mul_(2)  # the same memory, other values
                return self.b(x)

        self.record(Twins(), [torch.ones(3, 4)], tokens=3, dtype="fp32")
        a, b = self.manifest()["layers"]
        self.assertNotEqual(a["x"], b["x"])
        self.assertEqual(self.values(a["x"]).unique().tolist(), [1])
        self.assertEqual(self.values(b["x"]).unique().tolist(), [2])

    def test_layers_that_part_in_a_later_pass_get_a_file_each_with_all_rows(self):
        class Fickle(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b, self.c = (nn.Linear(4, 4) for _ in range(3))

            def forward(self, x):
                self.a(x)
                self.b(x if x[0, 0] < 2 else x + 10)
                return self.c(x)

        self.record(Fickle(), [torch.full((3, 4), float(i)) for i in (1, 2, 3)], tokens=9, dtype="fp32")
        a, b, c = self.manifest()["layers"]
        self.assertEqual(a["x"], c["x"])
        self.assertEqual(self.values(a["x"])[:, 0].tolist(), [1, 1, 1, 2, 2, 2, 3, 3, 3])
        self.assertEqual(self.values(b["x"])[:, 0].tolist(), [1, 1, 1, 12, 12, 12, 13, 13, 13])

    def test_a_layer_that_stops_running_keeps_its_own_shorter_file(self):
        class Early(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b, self.never = (nn.Linear(4, 4) for _ in range(3))

            def forward(self, x):
                self.a(x)
                return self.b(x) if x[0, 0] < 2 else x

        self.record(Early(), [torch.full((3, 4), float(i)) for i in (1, 2)], tokens=6, dtype="fp32")
        a, b = self.manifest()["layers"]
        self.assertEqual((a["tokens"], b["tokens"]), (6, 3))
        self.assertEqual(self.values(b["x"]).tolist(), [[1.0] * 4] * 3)
        self.assertIn("layer 'never' never ran and is left out", self.notes)
        self.assertIn("1 layers received fewer than 6 tokens: b", self.notes)
        self.assertEqual(list(self.out.glob("002*")), [])


class Amount(Case):
    def test_fewer_tokens_than_asked_are_recorded_and_the_header_says_so(self):
        module = make().eval()
        manifest = self.record(module, [ids(1, 7)], tokens=100000)
        self.assertEqual(manifest["tokens"], 7)
        for layer in manifest["layers"]:
            self.assertEqual(layer["tokens"], 7)
            self.assertEqual(self.tensor(layer["x"])[1], [7, layer["in_features"]])
        self.assertEqual(self.notes, ["the input held 7 tokens, 100000 were asked: 7 are recorded"])

    def test_passes_end_when_enough_was_seen(self):
        passes = []

        def batches():
            for seed in range(1000):
                passes.append(seed)
                yield ids(1, 4, seed=seed)

        self.record(make(), batches(), tokens=10)
        self.assertEqual(len(passes), 3)

    def test_module_is_left_as_it_was(self):
        module = make().train()
        module.layers[0].eval()
        before = [part.training for part in module.modules()]
        self.record(module, [ids(1, 4)], tokens=4)
        self.assertEqual([part.training for part in module.modules()], before)
        self.assertTrue(all(not part._forward_pre_hooks for part in module.modules()))

    def test_progress_is_told_after_each_pass(self):
        told = []
        self.record(make(), [ids(1, 4), ids(1, 4)], tokens=6, progress=lambda *now: told.append(now))
        self.assertEqual(told, [(4, 6), (6, 6)])

    def test_sequences_cut_skip_and_stop(self):
        def shapes_and_values(array, *args, **kwargs):
            return [(tuple(p.shape), p.flatten().tolist()) for p in sequences(array, *args, **kwargs)]

        self.assertEqual(shapes_and_values(torch.arange(10), 7, 4, skip=1),
                         [((1, 4), [1, 2, 3, 4]), ((1, 3), [5, 6, 7])])
        self.assertEqual(shapes_and_values(torch.arange(10).reshape(2, 5), 9, 3, skip=6),
                         [((1, 3), [6, 7, 8]), ((1, 1), [9])])
        self.assertEqual(shapes_and_values(torch.arange(6.0).reshape(3, 2), 2, 9), [((2, 2), [0, 1, 2, 3])])
        self.assertEqual([s for s, _ in shapes_and_values(torch.zeros(2, 3, 5), 4, 2)],
                         [(1, 2, 5), (1, 1, 5), (1, 1, 5)])
        with self.assertRaisesRegex(RecordingError, r"shape \(2, 2, 2\).*sequences x tokens"):
            list(sequences(torch.zeros(2, 2, 2, dtype=torch.long), 1, 1))


class Globs(Case):
    NAMES = ["layers.0.q_proj", "layers.0.down_proj", "layers.1.q_proj", "layers.10.q_proj", "lm_head"]

    def test_stars_question_marks_and_braces(self):
        for patterns, expected in (
            (["*.q_proj"], [0, 2, 3]),
            (["layers.?.q_proj"], [0, 2]),
            (["layers.{0,10}.*"], [0, 1, 3]),
            (["{lm_head,layers.{0,1}.q_proj}"], [0, 2, 4]),
            (["lm_head", "layers.0.*"], [0, 1, 4]),
            (["!lm_head"], [0, 1, 2, 3]),
            (["*", "!*.q_proj"], [1, 4]),
        ):
            self.assertEqual(choose_layers(self.NAMES, patterns), [self.NAMES[i] for i in expected], patterns)

    def test_unknown_names_are_answered_with_near_ones(self):
        with self.assertRaisesRegex(RecordingError, r"no linear layer matches 'layers.0.q_prj'; near: layers.0.q_proj"):
            choose_layers(self.NAMES, ["layers.0.q_prj"])
        with self.assertRaisesRegex(RecordingError, r"'\*.dwn_proj'; near: layers.0.down_proj.*Last parts of the 5 names: down_proj, "):
            choose_layers(self.NAMES, ["*.dwn_proj"])
        with self.assertRaisesRegex(RecordingError, "'xyzzy'; for example layers.0.q_proj"):
            choose_layers(self.NAMES, ["xyzzy"])
        with self.assertRaisesRegex(RecordingError, "leave no layer"):
            choose_layers(self.NAMES, ["lm_head", "!lm_*"])

    def test_only_chosen_layers_are_on_disk(self):
        self.record(make(), [ids(1, 4)], tokens=4, layers=["layers.1.{k,v}_proj"])
        self.assertEqual([layer["name"] for layer in self.manifest()["layers"]], ["layers.1.k_proj", "layers.1.v_proj"])
        self.assertEqual(sorted(path.name for path in self.out.iterdir()),
                         ["000.safetensors", "000.weight.safetensors", "001.weight.safetensors", "manifest.json"])


class Errors(Case):
    def fails(self, text, module, batches, **options):
        with self.assertRaisesRegex(RecordingError, text):
            self.record(module, batches, **options)
        self.assert_nothing_left()

    def test_nan_names_layer_and_token(self):
        good, bad = torch.ones(4, 3), torch.ones(4, 3)
        bad[2, 1] = float("nan")
        self.fails(r"layer 'linear': the input of token 6, channel 1, is NaN", nn.Linear(3, 2), [good, bad], tokens=8)
        bad[2, 1] = float("-inf")
        self.fails(r"token 2, channel 1, is infinite", nn.Linear(3, 2), [bad], tokens=8)

    def test_a_nan_beyond_the_recorded_tokens_does_not_matter(self):
        x = torch.ones(4, 3)
        x[3] = float("nan")
        self.record(nn.Linear(3, 2), [x], tokens=3)
        self.assertEqual(self.manifest()["tokens"], 3)

    def test_a_value_too_large_for_fp16_says_so(self):
        x = torch.full((2, 3), 70000.0)
        self.fails("is 70000 and does not fit fp16; use --dtype bf16 or fp32", nn.Linear(3, 2), [x], dtype="fp16")
        self.record(nn.Linear(3, 2), [x], dtype="bf16")

    def test_a_nan_in_a_weight_names_its_place(self):
        linear = nn.Linear(3, 2)
        linear.weight.data[1, 2] = float("nan")
        self.fails("layer 'linear': the weight at row 1, column 2, is NaN", linear, [torch.ones(1, 3)])
        self.record(linear, [torch.ones(1, 3)], weights=False)

    def test_weights_that_are_no_numbers_are_refused(self):
        linear = nn.Linear(3, 2)
        linear.weight = nn.Parameter(torch.ones(2, 3, dtype=torch.int8), requires_grad=False)
        self.fails("torch.int8, not floating point; use --no-weights", linear, [torch.ones(1, 3)])
        self.fails("offloaded", nn.Linear(3, 2, device="meta"), [torch.ones(1, 3)])

    def test_models_that_cannot_be_recorded(self):
        self.fails("LayerNorm has no linear layer", nn.LayerNorm(3), [])
        self.fails("holds no token", nn.Linear(3, 2), [])
        self.fails("failed in pass 1: RuntimeError", nn.Linear(3, 2), [torch.ones(1, 4)])
        module = nn.Sequential(nn.Linear(3, 2))
        module.forward = lambda x: module[0](input=x)
        self.fails("is called by keyword", module, [torch.ones(1, 3)])
        module.forward = lambda x: x
        self.fails("none of the 1 chosen layers ran", module, [torch.ones(1, 3)])

    def test_wrong_options(self):
        self.fails("dtype 'int8' is none of bf16, fp16, fp32", nn.Linear(3, 2), [], dtype="int8")
        self.fails("must be at least 1", nn.Linear(3, 2), [], tokens=0)

    def test_a_folder_in_use_is_refused_and_an_empty_one_taken(self):
        self.out.mkdir()
        self.record(nn.Linear(3, 2), [torch.ones(2, 3)])
        before = sorted(self.out.iterdir())
        with self.assertRaisesRegex(RecordingError, "exists and is not empty"):
            self.record(nn.Linear(3, 2), [torch.ones(2, 3)])
        self.assertEqual(sorted(self.out.iterdir()), before)
        with self.assertRaisesRegex(RecordingError, "is a file"):
            self.record(nn.Linear(3, 2), [torch.ones(2, 3)], out=self.out / "manifest.json")


class CommandLine(Case):
    def setUp(self):
        super().setUp()
        (self.folder / "tiny.py").write_text(MODEL)
        np.save(self.folder / "ids.npy", ids(2, 40).numpy())

    def command(self, *arguments):
        return [sys.executable, str(SCRIPT), *map(str, arguments)]

    def run_script(self, *arguments, env=None):
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, cwd=self.folder,
                              env={**os.environ, **(env or {})}, timeout=120, stdin=subprocess.DEVNULL)

    def refused(self, text, *arguments):
        """In this process: starting PyTorch anew for every wrong option would take a minute."""
        out, error = io.StringIO(), io.StringIO()
        before, handler = os.getcwd(), signal.getsignal(signal.SIGTERM)
        os.chdir(self.folder)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
                status = record_activations.main([str(a) for a in arguments])
        except SystemExit as end:  # argparse
            status = end.code
        finally:
            os.chdir(before)
            signal.signal(signal.SIGTERM, handler)
        self.assertEqual((status, out.getvalue()), (2, ""), error.getvalue())
        self.assertRegex(error.getvalue(), text)

    def test_a_module_from_a_file(self):
        done = self.run_script("--module", "tiny.py:make", "--inputs", "ids.npy", "--tokens", 48, "--skip", 8,
                               "--sequence-length", 16, "--dtype", "fp32", "--layers", "*_proj", "-o", "recording")
        self.assertEqual((done.returncode, own_words(done.stderr)), (0, ""))
        self.assertRegex(done.stdout, r"^recording: 14 layers with 8 different inputs, 48 tokens, fp32, [\d.]+ MiB\n$")
        a, b = ids(2, 40)
        batches = [a[None, 8:24], a[None, 24:40], b[None, :16]]
        expected = inputs_by_plain_hooks(make().eval(), batches)
        manifest = self.manifest()
        self.assertEqual(manifest["model"], "tiny.py:make")
        self.assertEqual(manifest["provenance"]["skipped_tokens"], "8")
        self.assertEqual(manifest["provenance"]["sequence_length"], "16")
        self.assertEqual(len(manifest["provenance"]["input_sha256"]), 64)
        for layer in manifest["layers"]:
            self.assertTrue(torch.equal(self.values(layer["x"]), expected[layer["name"]]), layer["name"])

    def test_features_and_pt_files(self):
        (self.folder / "mlp.py").write_text("from torch import nn\nmake = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))\n")
        features = torch.arange(12.0, dtype=torch.float64).reshape(4, 3)
        torch.save(features, self.folder / "features.pt")
        done = self.run_script("--module", "mlp.py:make", "--inputs", "features.pt", "--tokens", 4, "-o", "recording")
        self.assertEqual((done.returncode, own_words(done.stderr)), (0, ""))
        self.assertEqual(self.values(self.manifest()["layers"][0]["x"]).tolist(), features.tolist())

    def test_usage_errors(self):
        module = ("--module", "tiny.py:make")
        inputs = ("--inputs", "ids.npy")
        out = ("-o", "recording")
        (self.folder / "text.txt").write_bytes(b"a\xff")
        np.save(self.folder / "objects.npy", np.array([{}], dtype=object))
        np.save(self.folder / "deep.npy", np.zeros((2, 2, 2, 2)))
        (self.folder / "odd.bin").write_bytes(b"")
        torch.save({"a": torch.ones(1)}, self.folder / "dict.pt")
        for text, arguments in (
            ("either a Hugging Face MODEL or a --module", (*inputs, *out)),
            ("either a Hugging Face MODEL or a --module", ("name", *module, *inputs, *out)),
            ("either --text FILE or --inputs FILE", (*module, *out)),
            ("--text needs a Hugging Face MODEL", (*module, "--text", "text.txt", *out)),
            ("required: -o", (*module, *inputs)),
            ("invalid number of at least 1 value: '0'", (*module, *inputs, *out, "--tokens", "0")),
            ("invalid choice: 'int8'", (*module, *inputs, *out, "--dtype", "int8")),
            ("not of the form file.py:factory", ("--module", "tiny.py", *inputs, *out)),
            ("there is no file absent.py", ("--module", "absent.py:make", *inputs, *out)),
            ("defines no 'made'; it defines .*make", ("--module", "tiny.py:made", *inputs, *out)),
            ("gave a int, expected a torch.nn.Module", ("--module", "tiny.py:a_number", *inputs, *out)),
            ("failed: ValueError: no such weights", ("--module", "tiny.py:broken", *inputs, *out)),
            ("cannot read absent.npy: No such file", (*module, "--inputs", "absent.npy", *out)),
            ("takes a .npy or .pt", (*module, "--inputs", "odd.bin", *out)),
            ("holds no plain array", (*module, "--inputs", "objects.npy", *out)),
            ("holds a dict, expected one tensor", (*module, "--inputs", "dict.pt", *out)),
            (r"shape \(2, 2, 2, 2\)", (*module, "--inputs", "deep.npy", *out)),
            ("no token after --skip 80", (*module, *inputs, *out, "--skip", "80")),
            ("no linear layer matches 'lm_haed'; near: lm_head", (*module, *inputs, *out, "--layers", "lm_haed")),
            ("device 'warp' cannot be used", (*module, *inputs, *out, "--device", "warp")),
            ("is not empty", (*module, *inputs, "-o", ".")),
        ):
            with self.subTest(text):
                self.refused(text, *arguments)
        self.assert_nothing_left()

    def test_missing_packages_are_named(self):
        for package, arguments, text in (
            ("transformers", ("some/model", "--inputs", "ids.npy"), "needs the Python package transformers"),
            ("torch", ("--module", "tiny.py:make", "--inputs", "ids.npy"), "apt-get install python3-torch"),
        ):
            absent = self.folder / f"no_{package}"
            absent.mkdir()
            (absent / f"{package}.py").write_text("raise ImportError('not here')\n")
            done = self.run_script(*arguments, "-o", "recording", env={"PYTHONPATH": str(absent)})
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertRegex(own_words(done.stderr), rf"^record_activations: .*{text}")

    def test_a_hugging_face_model(self):
        # Stands in for transformers, which Debian does not package: the same calls, the tiny model behind them.
        (self.folder / "transformers.py").write_text(textwrap.dedent('''
            import types
            import tiny
            __version__ = "0.test"

            class AutoModelForCausalLM:
                @staticmethod
                def from_pretrained(name, torch_dtype):
                    assert torch_dtype == "auto"
                    if name != "org/tiny":
                        raise OSError(f"{name} is not a local folder")
                    model = tiny.make().half()
                    inner = model.forward
                    def forward(input_ids, use_cache):
                        assert use_cache is False
                        return inner(input_ids)
                    model.forward = forward
                    model.config = types.SimpleNamespace(max_position_embeddings=8)
                    return model

            class AutoTokenizer:
                @staticmethod
                def from_pretrained(name):
                    return lambda text, verbose: {"input_ids": [1] + [ord(c) % 50 for c in text]}
        '''))
        (self.folder / "text.txt").write_text("twenty characters...", "utf-8")
        env = {"PYTHONPATH": str(self.folder)}
        done = self.run_script("org/tiny", "--text", "text.txt", "--tokens", 20, "-o", "recording", env=env)
        self.assertEqual((done.returncode, own_words(done.stderr)), (0, ""))
        manifest = self.manifest()
        self.assertEqual(manifest["model"], "org/tiny")
        self.assertEqual(manifest["source"], "text.txt, sequences of 8 tokens")
        self.assertEqual(manifest["provenance"]["transformers"], "0.test")
        tokens = torch.tensor([1] + [ord(c) % 50 for c in "twenty characters..."][:19])
        module = make().half().float().eval()
        expected = inputs_by_plain_hooks(module, [tokens[None, i:i + 8] for i in (0, 8, 16)])
        for layer in manifest["layers"]:
            self.assertEqual(self.tensor(layer["x"])[2], raw(expected[layer["name"]][:20], "bf16"), layer["name"])
        (self.folder / "bytes.txt").write_bytes(b"ab\xff")
        for text, arguments in (
            ("cannot load the model 'org/other'", ("org/other", "--text", "text.txt")),
            ("--sequence-length 9: the context of org/tiny is 8 tokens",
             ("org/tiny", "--text", "text.txt", "--sequence-length", 9)),
            (r"bytes.txt is not UTF-8 text \(byte 2\)", ("org/tiny", "--text", "bytes.txt")),
        ):
            done = self.run_script(*arguments, "-o", "b", env=env)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertRegex(own_words(done.stderr), rf"^record_activations: {text}")

    def test_an_interrupt_leaves_nothing(self):
        np.save(self.folder / "long.npy", np.zeros(100000, dtype=np.int64))
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(number.name):
                process = subprocess.Popen(
                    self.command("--module", "tiny.py:slow", "--inputs", "long.npy", "--tokens", 100000,
                                 "--sequence-length", 10, "-o", "recording"),
                    cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                deadline = time.monotonic() + 60
                while not any(f.stat().st_size > 2000 for f in self.folder.glob(".recording.partial-*/000.safetensors")):
                    self.assertLess(time.monotonic(), deadline, "recording did not begin")
                    self.assertIsNone(process.poll(), "ended by itself")
                    time.sleep(0.02)
                process.send_signal(number)
                out, error = process.communicate(timeout=60)
                self.assertEqual(process.returncode, 130)
                self.assertEqual((out, own_words(error)), ("", "record_activations: interrupted; nothing was recorded\n"))
                self.assert_nothing_left()

    def test_a_full_disk_is_an_error_that_leaves_nothing(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full")
        # A limit on the size of files stands in for the disk.
        command = " ".join(self.command("--module", "tiny.py:make", "--inputs", "ids.npy", "-o", "recording"))
        done = subprocess.run(["bash", "-c", f"trap '' XFSZ; ulimit -f 1; exec {command}"],
                              cwd=self.folder, capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertRegex(done.stderr, "File too large")
        self.assert_nothing_left()

    def test_a_terminal_shows_progress(self):
        try:
            primary, secondary = pty.openpty()
        except OSError as error:
            self.skipTest(f"no terminal can be made here: {error}")
        process = subprocess.Popen(
            self.command("--module", "tiny.py:make", "--inputs", "ids.npy", "--tokens", 80, "--sequence-length", 20,
                         "-o", "recording"), cwd=self.folder, stdout=subprocess.DEVNULL, stderr=secondary)
        os.close(secondary)
        shown = b""
        try:
            while piece := os.read(primary, 4096):
                shown += piece
        except OSError:  # Linux: the other end is closed
            pass
        os.close(primary)
        self.assertEqual(process.wait(timeout=60), 0)
        self.assertIn(b"20/80 tokens", shown)
        self.assertIn(b"[##############################] 80/80 tokens", shown)

    @unittest.skipUnless(os.environ.get("OLAB_BIN"), "OLAB_BIN names no olab program")
    def test_olab_reads_the_recording(self):
        for dtype in ("bf16", "fp16", "fp32"):
            with self.subTest(dtype):
                self.out = self.folder / dtype
                self.record(make(), [ids(1, 24)], tokens=24, dtype=dtype)
                olab = Path(os.environ["OLAB_BIN"]).resolve()
                done = subprocess.run([olab, "inspect", self.out, "--json"], capture_output=True, text=True, timeout=120)
                self.assertEqual(done.returncode, 0, done.stderr)
                json.loads(done.stdout)
                for layer in self.manifest()["layers"]:
                    self.assertIn(f'"{layer["name"]}"', done.stdout)
                self.assertIn(f'"{NAMES[dtype]}"', done.stdout)


if __name__ == "__main__":
    unittest.main()
