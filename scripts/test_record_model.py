#!/usr/bin/env python3
"""`olab record` against PyTorch: one model and one text, recorded by both, give one recording.

The model is a LLaMA in plain PyTorch, written here from the papers (RMSNorm, rotary positions, grouped queries,
SwiGLU, tied head); its weights go into a Hugging Face folder for the program. PyTorch's side is recorded by
record_activations.py.

Run: OLAB_BIN=build/release/bin/olab /usr/bin/python3 scripts/test_record_model.py
(Debian: apt-get install python3-torch python3-numpy)
"""

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np
import torch
from torch import nn

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from record_activations import ITEM_BYTES, record, sequences  # noqa: E402
from test_apply_transform import write_safetensors  # noqa: E402
from test_record_activations import NAMES, read_safetensors  # noqa: E402

OLAB = os.environ.get("OLAB_BIN")
TOKENS, CONTEXT = 150, 64  # three windows, the last one shorter
FP32_BOUND = 1e-5  # of |difference| / max |X|: two orders of summation in float32, through all blocks
PRECISION = {"bf16": 8, "fp16": 11}  # bits
NARROW_SHARE = 0.01  # of the values may fall on the other side of a rounding edge, by one step

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 97,
    "hidden_size": 64,
    "intermediate_size": 176,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "torch_dtype": "float32",
}


class RMSNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(1 + 0.3 * torch.randn(width))

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + CONFIG["rms_norm_eps"]))


def rotated(x):
    """Positions into (heads x tokens x channels); channel i turns with channel i + half."""
    tokens, width = x.shape[-2:]
    frequency = CONFIG["rope_theta"] ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angle = torch.outer(torch.arange(tokens, dtype=torch.float64), frequency)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    low, high = x[..., :width // 2], x[..., width // 2:]
    return torch.cat([low * cos - high * sin, high * cos + low * sin], -1)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        width, self.heads, self.kv_heads = (
            CONFIG[k] for k in ("hidden_size", "num_attention_heads", "num_key_value_heads"))
        self.head = width // self.heads
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, self.kv_heads * self.head, bias=False)
        self.v_proj = nn.Linear(width, self.kv_heads * self.head, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)

    def forward(self, x):
        tokens = x.shape[-2]
        q, k, v = (p(x).view(tokens, -1, self.head).transpose(0, 1) for p in (self.q_proj, self.k_proj, self.v_proj))
        q, k = rotated(q), rotated(k)
        k, v = (t.repeat_interleave(self.heads // self.kv_heads, 0) for t in (k, v))
        scores = q @ k.transpose(-1, -2) / self.head**0.5
        scores = scores.masked_fill(torch.ones(tokens, tokens, dtype=torch.bool).triu(1), float("-inf"))
        return self.o_proj((torch.softmax(scores, -1) @ v).transpose(0, 1).reshape(tokens, -1))


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        width, inside = CONFIG["hidden_size"], CONFIG["intermediate_size"]
        self.gate_proj = nn.Linear(width, inside, bias=False)
        self.up_proj = nn.Linear(width, inside, bias=False)
        self.down_proj = nn.Linear(inside, width, bias=False)

    def forward(self, x):
        return self.down_proj(nn.functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.self_attn, self.mlp = Attention(), Mlp()
        self.input_layernorm, self.post_attention_layernorm = (RMSNorm(CONFIG["hidden_size"]) for _ in range(2))

    def forward(self, x):
        x = x + self.self_attn(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed_tokens = nn.Embedding(CONFIG["vocab_size"], CONFIG["hidden_size"])
        self.layers = nn.ModuleList(Block() for _ in range(CONFIG["num_hidden_layers"]))
        self.norm = RMSNorm(CONFIG["hidden_size"])


class Llama(nn.Module):
    """Named as in Hugging Face."""

    def __init__(self):
        super().__init__()
        self.model = Inner()

    def forward(self, ids):
        x = self.model.embed_tokens(ids.reshape(-1))
        for block in self.model.layers:
            x = block(x)
        return self.model.norm(x) @ self.model.embed_tokens.weight.T


def make_model():
    torch.manual_seed(11)
    model = Llama()
    with torch.no_grad():
        # Outlier channels and a massive one, as in real models.
        model.model.layers[0].input_layernorm.weight[5] *= 20
        model.model.layers[1].mlp.up_proj.weight[17] *= 30
    return model


class RecordModel(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.path = Path(cls.folder.name)
        cls.model = make_model()
        tensors = {n: p.detach().numpy() for n, p in cls.model.named_parameters()}
        (cls.path / "model").mkdir()
        (cls.path / "model" / "config.json").write_text(json.dumps(CONFIG))
        write_safetensors(cls.path / "model" / "model.safetensors", tensors, {"format": "pt"})
        cls.ids = np.random.default_rng(5).integers(0, CONFIG["vocab_size"], TOKENS + 30)
        np.save(cls.path / "ids.npy", cls.ids)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def by_both(self, dtype, layers):
        """The folders of both recordings: PyTorch's and the program's."""
        if not OLAB:
            self.skipTest("OLAB_BIN names no program")
        folder = Path(tempfile.mkdtemp(dir=self.path))
        torchs, ours = folder / "torch", folder / "olab"
        record(self.model, sequences(torch.from_numpy(self.ids), TOKENS, CONTEXT), layers, TOKENS, dtype, torchs,
               model="model", source=f"ids.npy, sequences of {CONTEXT} tokens",
               provenance={"device": "cpu", "model_dtype": "float32", "input": "ids.npy",
                           "sequence_length": CONTEXT, "skipped_tokens": 0})
        chosen = [part for layer in layers for part in ("--layers", layer)]
        done = subprocess.run(
            [OLAB, "record", self.path / "model", "--text", self.path / "ids.npy", "--tokens", str(TOKENS), "--context",
             str(CONTEXT), "--dtype", dtype, *chosen, "-o", ours], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        return torchs, ours

    def compare(self, dtype, layers):
        torchs, ours = self.by_both(dtype, layers)
        self.assertEqual(sorted(p.name for p in torchs.iterdir()), sorted(p.name for p in ours.iterdir()))
        theirs, mine = (json.loads((f / "manifest.json").read_text()) for f in (torchs, ours))
        self.assertEqual(list(theirs), list(mine))
        for key in ("format", "version", "model", "source", "tokens", "layers"):
            self.assertEqual(theirs[key], mine[key], key)
        for key, value in theirs["provenance"].items():
            if key not in ("recorder", "recorded", "python", "torch"):
                self.assertEqual(value, mine["provenance"][key], key)
        worst = 0.0
        for file in sorted(torchs.glob("*.safetensors")):
            other = ours / file.name
            if "weight" in file.name:
                self.assertEqual(file.read_bytes(), other.read_bytes(), file.name)
                continue
            head = file.stat().st_size - self.x_bytes(theirs, file.name, dtype)
            self.assertEqual(file.read_bytes()[:head], other.read_bytes()[:head], "header")
            worst = max(worst, self.compare_x(file, other, dtype))
        return worst

    @staticmethod
    def x_bytes(manifest, name, dtype):
        layer = next(entry for entry in manifest["layers"] if entry["x"]["file"] == name)
        return layer["tokens"] * layer["in_features"] * ITEM_BYTES[dtype]

    def compare_x(self, file, other, dtype):
        (kind, _, a), (_, _, b) = (read_safetensors(p)["x"] for p in (file, other))
        self.assertEqual(kind, NAMES[dtype])
        if dtype == "fp32":
            a, b = (np.frombuffer(v, "<f4").astype("f8") for v in (a, b))
            worst = abs(a - b).max() / abs(a).max()
            self.assertLess(worst, FP32_BOUND, file.name)
            return worst
        if dtype == "bf16":  # the upper half of a float
            a, b = ((np.frombuffer(v, "<u2").astype("u4") << 16).view("f4").astype("f8") for v in (a, b))
        else:
            a, b = (np.frombuffer(v, "<f2").astype("f8") for v in (a, b))
        step = 2.0 ** (np.frexp(np.maximum(abs(a), abs(b)))[1] - PRECISION[dtype])
        self.assertTrue((abs(a - b) <= step + FP32_BOUND * abs(a).max()).all(), file.name)
        self.assertLess((a != b).mean(), NARROW_SHARE, file.name)
        return float((a != b).mean())

    def test_fp32_is_equal_within_rounding(self):
        worst = self.compare("fp32", ["model.layers.*"])
        print(f"largest |difference| / max |X| in fp32: {worst:.1e}")

    def test_narrow_dtypes_are_equal_but_for_a_rounding(self):
        for dtype in ("bf16", "fp16"):
            worst = self.compare(dtype, ["model.layers.*"])
            print(f"largest share of values that differ by a rounding in {dtype}: {worst:.1e}")

    def test_chosen_layers_share_and_number_their_files_alike(self):
        self.compare("fp32", ["model.layers.{1,2}.*", "!*.q_proj", "!model.layers.2.mlp.*"])

    def test_the_program_tells_positions_and_order_apart(self):
        """A guard of this test: without positions, or with the wrong pairs, the bound is missed by far."""
        torchs, _ = self.by_both("fp32", ["*.o_proj"])
        global rotated
        right = rotated
        try:
            rotated = lambda x: x  # noqa: E731
            other = self.path / "unrotated"
            record(self.model, sequences(torch.from_numpy(self.ids), TOKENS, CONTEXT), ["*.o_proj"], TOKENS, "fp32", other)
        finally:
            rotated = right
        with self.assertRaises(AssertionError):
            for file in sorted(torchs.glob("*[0-9].safetensors")):
                self.compare_x(file, other / file.name, "fp32")


if __name__ == "__main__":
    unittest.main()
