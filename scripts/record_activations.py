#!/usr/bin/env python3
"""Records what goes into the linear layers of a PyTorch model, as a recording that olab reads.

From the command line, a Hugging Face causal language model (needs transformers):

    scripts/record_activations.py meta-llama/Llama-2-7b-hf --text wiki.txt --tokens 2048 \\
        --layers '*.down_proj' 'model.layers.{0,1,31}.*' -o recordings/llama2-7b

or any torch.nn.Module, made by a function of yours (needs only torch and numpy):

    scripts/record_activations.py --module my_model.py:make --inputs ids.npy -o recordings/mine

From Python:

    from record_activations import record
    record(module, batches, layers=["*.mlp.*"], tokens=2048, dtype="bf16", out="recordings/mine")

A recording is a folder: manifest.json, and one safetensors file for every tensor. X is (tokens x in_features),
W is (out_features x in_features). Layers that receive the very same tensor (q, k and v; gate and up) share one
file. Rows go to disk as they come, so memory stays bounded by one forward pass. The folder appears under its
final name only when it is whole.

Exit status: 0 recorded, 2 something to correct, 130 interrupted.
"""

import argparse
import collections
import difflib
import fnmatch
import hashlib
import importlib.util
import itertools
import json
import os
import platform
import re
import shutil
import signal
import struct
import sys
import time
from pathlib import Path

# torch and numpy take seconds to load, so they are imported where they are first needed: --help and usage
# errors answer at once.

DTYPES = {"bf16": "BF16", "fp16": "F16", "fp32": "F32"}  # option -> safetensors name
TORCH_DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
ITEM_BYTES = {"bf16": 2, "fp16": 2, "fp32": 4}

# A tensor that several layers share is seen again soon (q, k, v; also attention and MLP in parallel): so many
# inputs of the running pass are kept alive to recognise it.
RECENT_INPUTS = 4

WEIGHT_CHUNK_ITEMS = 1 << 24  # weights are converted and written in pieces of about this many values


class RecordingError(Exception):
    """Something the user can correct. The text is the whole message."""


# ------------------------------------------------------------------------------------------- safetensors


def _header(tensor, dtype, rows, columns, total=None):
    """The head of a safetensors file with one tensor: length, JSON, spaces up to a multiple of 64 bytes (or up
    to `total` bytes, to replace a header that stands already)."""
    size = rows * columns * ITEM_BYTES[dtype]
    text = json.dumps(
        {tensor: {"dtype": DTYPES[dtype], "shape": [rows, columns], "data_offsets": [0, size]}},
        separators=(",", ":"),
    ).encode()
    total = total or -(-(8 + len(text)) // 64) * 64
    return struct.pack("<Q", total - 8) + text.ljust(total - 8)


class _TensorFile:
    """A safetensors file with one tensor that grows row by row. The header announces the expected rows;
    `finish` corrects it where fewer came. The file is closed between writes: a model can have more layers than
    a process may have open files."""

    def __init__(self, path, tensor, dtype, expected_rows, columns):
        self.path, self.tensor, self.dtype, self.columns = path, tensor, dtype, columns
        self.expected_rows, self.rows = expected_rows, 0
        head = _header(tensor, dtype, expected_rows, columns)
        self.data_start = len(head)
        path.write_bytes(head)

    def append(self, block):
        """`block`: NumPy array of little-endian integers (the bits of the values), rows x columns."""
        with open(self.path, "ab") as file:
            file.write(block)
        self.rows += len(block)

    def copy(self, path, rows):
        """A file of its own with the first `rows` rows."""
        other = _TensorFile(path, self.tensor, self.dtype, self.expected_rows, self.columns)
        left = rows * self.columns * ITEM_BYTES[self.dtype]
        with open(self.path, "rb") as source, open(path, "ab") as target:
            source.seek(self.data_start)
            while left:
                piece = source.read(min(left, 1 << 24))
                target.write(piece)
                left -= len(piece)
        other.rows = rows
        return other

    def finish(self):
        if self.rows != self.expected_rows:
            with open(self.path, "r+b") as file:
                file.write(_header(self.tensor, self.dtype, self.rows, self.columns, self.data_start))


def _bits(values, dtype, describe):
    """The bits of `values` (torch, rows x columns) rounded to `dtype`, as little-endian integers in NumPy.
    RecordingError where a value is not finite; `describe(row, column)` says which one that is."""
    import torch

    # Always a copy: the model may change its tensor in place before the bits are compared or written.
    cast = values.to(device="cpu", dtype=getattr(torch, TORCH_DTYPES[dtype]), copy=True).contiguous()
    if not torch.isfinite(cast).all():
        row, column = torch.nonzero(~torch.isfinite(cast))[0].tolist()
        value = float(values[row, column])
        where = describe(row, column)
        if value != value:
            raise RecordingError(f"{where} is NaN")
        if value in (float("inf"), float("-inf")):
            raise RecordingError(f"{where} is infinite")
        raise RecordingError(f"{where} is {value:g} and does not fit {dtype}; use --dtype bf16 or fp32")
    integers = cast.view(torch.int16 if ITEM_BYTES[dtype] == 2 else torch.int32).numpy()
    return integers.astype(integers.dtype.newbyteorder("<"), copy=False)


# ------------------------------------------------------------------------------------------------ layers


class _Layer:
    """A chosen linear layer and what was recorded of it."""

    def __init__(self, index, name, module):
        self.index, self.name, self.module = index, name, module
        # transformers' Conv1D (GPT-2) is a linear layer that keeps its weight as in_features x out_features.
        self.transposed = _is_conv1d(module)
        shape = tuple(module.weight.shape)
        self.out_features, self.in_features = shape[::-1] if self.transposed else shape
        self.file = None  # _TensorFile of X, perhaps shared
        self.owns_file = False
        self.weight_file = None
        self.rows = 0


class _Input:
    """An input of the running pass that is on disk already."""

    def __init__(self, tensor, block, file, start):
        self.tensor, self.block, self.file, self.start = tensor, block, file, start

    def is_same(self, tensor, block):
        # The pointer is only a hint (a layer may have changed its input in place), the bytes decide. It is a
        # safe hint because self.tensor is alive, so its memory cannot have been handed out again.
        mine = self.tensor
        return (
            tensor.data_ptr() == mine.data_ptr()
            and tensor.device == mine.device
            and block.shape == self.block.shape
            and bool((block == self.block).all())
        )


def _is_conv1d(module):
    return type(module).__name__ == "Conv1D" and hasattr(module, "nf") and module.weight.dim() == 2


def _linear_layers(module):
    """Name -> module of every linear layer, in model order."""
    import torch

    found = {}
    for name, part in module.named_modules():
        if isinstance(part, torch.nn.Linear) or _is_conv1d(part):
            found[name or "linear"] = part
    if not found:
        raise RecordingError(f"{type(module).__name__} has no linear layer (torch.nn.Linear)")
    return found


def _matches(pattern, name):
    """The glob grammar of studies: * ? {a,b}."""
    braces = re.search(r"\{([^{}]*)\}", pattern)
    if braces:
        before, after = pattern[: braces.start()], pattern[braces.end():]
        return any(_matches(before + choice.strip() + after, name) for choice in braces[1].split(","))
    return fnmatch.fnmatchcase(name, pattern.replace("[", "[[]"))


def choose_layers(names, patterns):
    """The names that a pattern matches and no `!pattern` does, in the given order. RecordingError with near
    names where a pattern matches nothing."""
    for pattern in patterns:
        bare = pattern.removeprefix("!")
        if not any(_matches(bare, name) for name in names):
            kinds = sorted({name.rsplit(".", 1)[-1] for name in names})
            near = difflib.get_close_matches(bare, names, 4, 0.6)
            if not near:
                near = difflib.get_close_matches(bare.rsplit(".", 1)[-1].strip("*?"), kinds, 4, 0.5)
            hint = f"near: {', '.join(near)}" if near else f"for example {names[0]}"
            raise RecordingError(
                f"no linear layer matches '{bare}'; {hint}. Last parts of the {len(names)} names: {', '.join(kinds)}"
            )
    wanted = [p for p in patterns if not p.startswith("!")] or ["*"]
    unwanted = [p[1:] for p in patterns if p.startswith("!")]
    chosen = [
        name
        for name in names
        if any(_matches(p, name) for p in wanted) and not any(_matches(p, name) for p in unwanted)
    ]
    if not chosen:
        raise RecordingError(f"the patterns {' '.join(patterns)} leave no layer")
    return chosen


# ---------------------------------------------------------------------------------------------- recording


class _Recorder:
    """Takes the inputs of the chosen layers and appends them to files in `folder`."""

    def __init__(self, folder, layers, tokens, dtype):
        self.folder, self.layers, self.tokens, self.dtype = folder, layers, tokens, dtype
        self.recent = collections.deque(maxlen=RECENT_INPUTS)
        self.pass_tokens = 0

    def begin_pass(self):
        self.recent.clear()
        self.pass_tokens = 0

    def x_path(self, layer):
        return self.folder / f"{layer.index:03d}.safetensors"

    def hook(self, layer):
        def take(_module, args):
            if not args:
                raise RecordingError(f"layer '{layer.name}' is called by keyword; its input cannot be seen")
            self.take(layer, args[0])

        return take

    def take(self, layer, tensor):
        values = tensor.detach().reshape(-1, layer.in_features)
        self.pass_tokens = max(self.pass_tokens, len(values))
        values = values[: self.tokens - layer.rows]
        if not len(values):
            return
        start = layer.rows
        block = _bits(
            values,
            self.dtype,
            lambda row, column: f"layer '{layer.name}': the input of token {start + row}, channel {column},",
        )
        same = next((i for i in self.recent if i.start == start and i.is_same(tensor, block)), None)
        if layer.file is None and same:
            layer.file = same.file
        elif layer.file is None:
            layer.file = _TensorFile(self.x_path(layer), "x", self.dtype, self.tokens, layer.in_features)
            layer.owns_file = True
        elif not layer.owns_file and (same is None or same.file is not layer.file):
            self.part(layer)  # equal inputs up to here, another one now
        if layer.owns_file:
            layer.file.append(block)
            self.recent.append(_Input(tensor, block, layer.file, start))
        layer.rows += len(block)

    def part(self, layer):
        layer.file = layer.file.copy(self.x_path(layer), layer.rows)
        layer.owns_file = True

    def write_weight(self, layer):
        import torch

        weight = layer.module.weight
        if weight.device.type == "meta":
            raise RecordingError(
                f"the weight of layer '{layer.name}' is not in memory (offloaded); use --no-weights or --device cpu"
            )
        if not torch.is_floating_point(weight):
            raise RecordingError(
                f"the weight of layer '{layer.name}' is {weight.dtype}, not floating point; use --no-weights"
            )
        weight = weight.detach().t() if layer.transposed else weight.detach()
        path = self.folder / f"{layer.index:03d}.weight.safetensors"
        layer.weight_file = _TensorFile(path, "weight", self.dtype, layer.out_features, layer.in_features)
        step = max(1, WEIGHT_CHUNK_ITEMS // max(1, layer.in_features))
        for first in range(0, layer.out_features, step):
            layer.weight_file.append(
                _bits(
                    weight[first:first + step],
                    self.dtype,
                    lambda row, column: f"layer '{layer.name}': the weight at row {first + row}, column {column},",
                )
            )

    def finish(self, note):
        """Closes all files and returns the manifest's list of layers."""
        entries = []
        for layer in self.layers:
            if layer.rows == 0:
                note(f"layer '{layer.name}' never ran and is left out")
                if layer.weight_file:
                    layer.weight_file.path.unlink()
                continue
            if not layer.owns_file and layer.rows != layer.file.rows:
                self.part(layer)  # the owner ran on after this layer had stopped
            entry = {
                "name": layer.name,
                "tokens": layer.rows,
                "in_features": layer.in_features,
                "out_features": layer.out_features,
                "x": {"file": layer.file.path.name, "tensor": "x"},
            }
            if layer.weight_file:
                entry["weight"] = {"file": layer.weight_file.path.name, "tensor": "weight"}
            entries.append(entry)
        for layer in self.layers:
            if layer.owns_file:
                layer.file.finish()
        return entries


def _check_target(out):
    """The final folder as an absolute path. RecordingError where it cannot become a recording."""
    final = Path(os.path.realpath(out))
    if final.exists() and not final.is_dir():
        raise RecordingError(f"{out} is a file; -o names the folder to make")
    if final.is_dir() and any(final.iterdir()):
        raise RecordingError(f"{out} exists and is not empty; remove it or choose another folder")
    if final.is_dir() and os.path.ismount(final):
        raise RecordingError(f"{out} is a mount point; choose a folder inside it")
    return final


def record(
    module,
    batches,
    layers=("*",),
    tokens=2048,
    dtype="bf16",
    out="recording",
    *,
    weights=True,
    model="",
    source="",
    provenance=None,
    call=None,
    progress=None,
    note=None,
):
    """Runs `module` over `batches` and records the inputs (and weights) of its linear layers.

    module      any torch.nn.Module; run in eval mode without gradients, left as it was
    batches     iterable of inputs, one forward pass each: a tensor, a tuple (arguments) or a dict (keywords)
    layers      globs over the names of the torch.nn.Linear (and Conv1D) parts: * ? {a,b}, and !pattern to leave out
    tokens      rows of X to record for each layer; all leading axes of an input count as tokens. Passes end once
                a layer has received so many. A layer that receives fewer (an expert) is recorded with fewer
    dtype       "bf16", "fp16" or "fp32": how X and W are stored (rounded to nearest, ties to even)
    out         the folder to make; must be absent or empty
    model, source, provenance    texts for the manifest; provenance is a dict of texts
    call        call(batch) runs the module; default: module(batch), module(*batch) or module(**batch)
    progress    progress(tokens_so_far, tokens) after each pass
    note        note(text) for remarks (fewer tokens than asked, a layer that never ran); default: stderr

    Returns the manifest. Raises RecordingError on what the caller can correct: an unknown layer, a NaN or
    infinity (with layer and token), a value too large for fp16, a folder in use. After any exception nothing
    is left behind.
    """
    import torch

    if dtype not in DTYPES:
        raise RecordingError(f"dtype '{dtype}' is none of {', '.join(DTYPES)}")
    if tokens < 1:
        raise RecordingError(f"tokens is {tokens}; it must be at least 1")
    note = note or (lambda text: print(f"record_activations: {text}", file=sys.stderr))
    call = call or (lambda batch: _call(module, batch))
    final = _check_target(out)
    parts = _linear_layers(module)
    chosen = [
        _Layer(index, name, parts[name]) for index, name in enumerate(choose_layers(list(parts), list(layers)))
    ]
    final.parent.mkdir(parents=True, exist_ok=True)
    folder = final.parent / f".{final.name}.partial-{os.getpid()}-{time.time_ns()}"
    folder.mkdir()
    training = [part for part in module.modules() if part.training]
    handles = []
    try:
        recorder = _Recorder(folder, chosen, tokens, dtype)
        if weights:
            for layer in chosen:
                recorder.write_weight(layer)
        for layer in chosen:
            handles.append(layer.module.register_forward_pre_hook(recorder.hook(layer)))
        module.eval()
        seen = passes = 0
        with torch.no_grad():
            for batch in batches:
                recorder.begin_pass()
                passes += 1
                try:
                    call(batch)
                except RecordingError:
                    raise
                except Exception as error:  # whatever the model's own code raises
                    raise RecordingError(f"the model failed in pass {passes}: {type(error).__name__}: {error}") from error
                seen += recorder.pass_tokens
                if progress:
                    progress(min(seen, tokens), tokens)
                if seen >= tokens:
                    break
        recorder.begin_pass()  # lets go of the last inputs
        if passes == 0:
            raise RecordingError("the input holds no token")
        if seen == 0:
            raise RecordingError(f"none of the {len(chosen)} chosen layers ran")
        entries = recorder.finish(note)
        recorded = max(entry["tokens"] for entry in entries)
        if recorded < tokens:
            note(f"the input held {recorded} tokens, {tokens} were asked: {recorded} are recorded")
        fewer = [entry["name"] for entry in entries if entry["tokens"] < recorded]
        if fewer:
            note(f"{len(fewer)} layers received fewer than {recorded} tokens: {', '.join(fewer[:4])}"
                 + (", …" if len(fewer) > 4 else ""))
        facts = {
            "recorder": "scripts/record_activations.py",
            "recorded": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "stored_as": dtype,
        }
        facts.update({key: str(value) for key, value in (provenance or {}).items()})
        manifest = {
            "format": "outlierlab-recording",
            "version": 1,
            "model": model or type(module).__name__,
            "source": source,
            "tokens": recorded,
            "provenance": facts,
            "layers": entries,
        }
        # The manifest comes last and the folder gets its name in one step: what can be seen is whole.
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", "utf-8")
        os.rename(folder, final)
        return manifest
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        for handle in handles:
            handle.remove()
        for part in training:
            part.training = True


def _call(module, batch):
    if isinstance(batch, dict):
        return module(**batch)
    if isinstance(batch, tuple):
        return module(*batch)
    return module(batch)


# -------------------------------------------------------------------------------------------- command line


def sequences(array, tokens, length, skip=0):
    """Cuts an input into one-sequence batches of at most `length` tokens, `tokens` tokens in all, after leaving
    out the first `skip`. Integers are token ids, (tokens) or (sequences x tokens), and come out as 1 x n.
    Floating point values are features, (tokens x features) or (sequences x tokens x features), and come out as
    n x features or 1 x n x features. Sequences of the input are never joined."""
    import torch

    features = torch.is_floating_point(array)
    token_axes = array.dim() - (1 if features else 0)
    if token_axes not in (1, 2):
        what = "features: tokens x features or sequences x tokens x features" if features else \
            "token ids: tokens or sequences x tokens"
        raise RecordingError(f"the input has shape {tuple(array.shape)}; expected {what}")
    for row in array if token_axes == 2 else [array]:
        if skip >= len(row):
            skip -= len(row)
            continue
        row, skip = row[skip:], 0
        for start in range(0, len(row), length):
            piece = row[start:min(start + length, start + tokens)]
            if not len(piece):
                return
            tokens -= len(piece)
            yield piece if features and token_axes == 1 else piece[None]


def _load_inputs(path):
    import numpy
    import torch

    try:
        if path.suffix == ".npy":
            array = torch.from_numpy(numpy.load(path, allow_pickle=False))
        elif path.suffix in (".pt", ".pth"):
            array = torch.load(path, map_location="cpu", weights_only=True)
        else:
            raise RecordingError(f"{path}: --inputs takes a .npy or .pt file")
    except OSError as error:
        raise RecordingError(f"cannot read {path}: {error.strerror or error}") from error
    except RecordingError:
        raise
    except Exception as error:  # numpy and torch raise many kinds on a malformed file
        raise RecordingError(f"{path} holds no plain array or tensor: {error}") from error
    if not isinstance(array, torch.Tensor):
        raise RecordingError(f"{path} holds a {type(array).__name__}, expected one tensor")
    if torch.is_complex(array) or array.dtype == torch.bool:
        raise RecordingError(f"{path} holds {array.dtype}; expected token ids (integers) or features (floating point)")
    return array if torch.is_floating_point(array) else array.long()


def _load_module(spec):
    """The module that `file.py:factory` makes."""
    import torch

    path, colon, name = spec.rpartition(":")
    if not colon or not path or not name:
        raise RecordingError(f"--module '{spec}' is not of the form file.py:factory")
    if not os.path.isfile(path):
        raise RecordingError(f"--module: there is no file {path}")
    module_spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if module_spec is None:
        raise RecordingError(f"--module: {path} is no Python file")
    code = importlib.util.module_from_spec(module_spec)
    sys.path.insert(0, str(Path(path).resolve().parent))
    try:
        module_spec.loader.exec_module(code)
        if not hasattr(code, name):
            known = [n for n in vars(code) if callable(vars(code)[n]) and not n.startswith("_")]
            raise RecordingError(f"{path} defines no '{name}'; it defines {', '.join(known) or 'nothing callable'}")
        made = getattr(code, name)
        made = made if isinstance(made, torch.nn.Module) else made()
    except RecordingError:
        raise
    except Exception as error:  # the user's code
        raise RecordingError(f"--module {spec} failed: {type(error).__name__}: {error}") from error
    if not isinstance(made, torch.nn.Module):
        raise RecordingError(f"{spec} gave a {type(made).__name__}, expected a torch.nn.Module")
    return made


def _load_language_model(name, device):
    """A causal language model in the precision that it is stored in."""
    import torch

    try:
        import transformers
    except ImportError as error:
        raise RecordingError(
            f"a Hugging Face model needs the Python package transformers ({error}): pip install transformers. "
            "Without it, record any module with --module file.py:factory --inputs ids.npy"
        ) from error
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(name, torch_dtype="auto")
    except Exception as error:  # transformers raises many kinds
        raise RecordingError(f"cannot load the model '{name}': {error}") from error
    if device.type == "cpu" and next(model.parameters()).dtype == torch.float16:
        model = model.float()  # PyTorch has no fp16 products on a CPU
    return model, transformers


def _tokenize(transformers, name, path):
    import torch

    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise RecordingError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise RecordingError(f"{path} is not UTF-8 text (byte {error.start})") from error
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(name)
        # As the field does it: the whole text at once, so the begin-of-sequence token stands once, in front.
        return torch.tensor(tokenizer(text, verbose=False)["input_ids"], dtype=torch.long)
    except Exception as error:
        raise RecordingError(f"cannot tokenize {path} with the tokenizer of '{name}': {error}") from error


class _Progress:
    """One line on a terminal, nothing elsewhere."""

    def __init__(self, stream):
        self.stream, self.started, self.shown = stream, time.monotonic(), False
        self.on = stream.isatty()

    def __call__(self, done, total):
        if not self.on:
            return
        seconds = time.monotonic() - self.started
        left = seconds * (total - done) / max(done, 1)
        bar = "#" * (30 * done // total)
        self.stream.write(f"\r[{bar:<30}] {done}/{total} tokens, {left // 60:.0f}:{left % 60:02.0f} left  ")
        self.stream.flush()
        self.shown = True

    def end(self):
        if self.shown:
            self.stream.write("\r\033[K")
            self.stream.flush()


def _parser():
    def positive(text):
        value = int(text)
        if value < 1:
            raise ValueError
        return value

    def count(text):
        value = int(text)
        if value < 0:
            raise ValueError
        return value

    positive.__name__, count.__name__ = "number of at least 1", "number"  # argparse prints these
    parser = argparse.ArgumentParser(
        description="Records the inputs and weights of a model's linear layers as a recording for olab.",
        epilog="Exit status: 0 recorded, 2 something to correct, 130 interrupted.",
    )
    parser.add_argument("model", nargs="?", metavar="MODEL", help="Hugging Face name or folder (needs transformers)")
    parser.add_argument("--module", metavar="FILE.py:FACTORY", help="any torch.nn.Module instead of MODEL")
    parser.add_argument("--text", type=Path, metavar="FILE", help="UTF-8 text to run MODEL on")
    parser.add_argument("--inputs", type=Path, metavar="FILE",
                        help=".npy or .pt with token ids (tokens, or sequences x tokens) or features "
                             "(tokens x features, or sequences x tokens x features)")
    parser.add_argument("--tokens", type=positive, default=2048, metavar="N", help="tokens to record (default 2048)")
    parser.add_argument("--skip", type=count, default=0, metavar="N", help="leave out the first N tokens of the input")
    parser.add_argument("--sequence-length", type=positive, metavar="N",
                        help="tokens in one forward pass (default 2048, or the model's context where shorter)")
    parser.add_argument("--layers", nargs="+", default=["*"], metavar="GLOB",
                        help="which linear layers: * ? {a,b}; !GLOB leaves some out (default: all)")
    parser.add_argument("--dtype", choices=list(DTYPES), default="bf16", help="how values are stored (default bf16)")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1, … (default: cuda where there is one)")
    parser.add_argument("--no-weights", action="store_true", help="record activations only")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FOLDER", help="the recording to make")
    return parser


def _device(name):
    import torch

    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise RecordingError(f"device '{name}' cannot be used: {str(error).splitlines()[0]}") from error
    return device


def _run(args, progress):
    if bool(args.model) == bool(args.module):
        raise RecordingError("name either a Hugging Face MODEL or a --module file.py:factory")
    if bool(args.text) == bool(args.inputs):
        raise RecordingError("give the input as either --text FILE or --inputs FILE")
    if args.module and args.text:
        raise RecordingError("--text needs a Hugging Face MODEL (for its tokenizer); use --inputs with --module")
    _check_target(args.out)  # before minutes of loading
    try:
        import numpy  # noqa: F401  (torch needs it to hand out bytes)
        import torch
    except ImportError as error:
        raise RecordingError(
            f"PyTorch and NumPy are needed ({error}): apt-get install python3-torch python3-numpy, "
            "or pip install torch numpy"
        ) from error

    device = _device(args.device)
    context = None
    provenance = {"device": str(device)}
    if args.module:
        module, transformers = _load_module(args.module), None
        name = os.path.basename(args.module)
    else:
        module, transformers = _load_language_model(args.model, device)
        name = args.model
        provenance["transformers"] = transformers.__version__
        context = getattr(module.config, "max_position_embeddings", None)
    if context and args.sequence_length and args.sequence_length > context:
        raise RecordingError(f"--sequence-length {args.sequence_length}: the context of {name} is {context} tokens")
    length = args.sequence_length or min(2048, context or 2048)

    path = args.text or args.inputs
    array = _tokenize(transformers, args.model, path) if args.text else _load_inputs(path)
    parameter = next((p for p in module.parameters() if p.is_floating_point()), None)
    if parameter is not None:
        provenance["model_dtype"] = str(parameter.dtype).removeprefix("torch.")
        if array.is_floating_point():
            array = array.to(parameter.dtype)
    provenance.update(
        input=path.name,
        input_sha256=_sha256(path),
        sequence_length=length,
        skipped_tokens=args.skip,
    )
    batches = sequences(array, args.tokens, length, args.skip)
    first = next(batches, None)
    if first is None:
        raise RecordingError(f"{path} holds no token" + (f" after --skip {args.skip}" if args.skip else ""))
    try:
        module = module.to(device)
    except RuntimeError as error:
        raise RecordingError(f"the model does not fit on {device}: {str(error).splitlines()[0]}") from error
    if transformers:
        def call(batch):
            module(input_ids=batch.to(device), use_cache=False)
    else:
        def call(batch):
            module(batch.to(device))

    def note(text):
        progress.end()
        print(f"record_activations: {text}", file=sys.stderr)

    manifest = record(
        module,
        itertools.chain([first], batches),
        args.layers,
        args.tokens,
        args.dtype,
        args.out,
        weights=not args.no_weights,
        model=name,
        source=f"{path.name}, sequences of {length} tokens" + (f", after {args.skip} tokens" if args.skip else ""),
        provenance=provenance,
        call=call,
        progress=progress,
        note=note,
    )
    progress.end()
    layers = manifest["layers"]
    files = {layer["x"]["file"] for layer in layers}
    size = sum(file.stat().st_size for file in args.out.iterdir())
    print(f"{args.out}: {len(layers)} layers with {len(files)} different inputs, {manifest['tokens']} tokens, "
          f"{args.dtype}, {size / 2**20:.1f} MiB")


def _sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def main(argv=None):
    args = _parser().parse_args(argv)
    progress = _Progress(sys.stderr)

    def stop(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        _run(args, progress)
        return 0
    except RecordingError as error:
        progress.end()
        print(f"record_activations: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        progress.end()
        print(f"record_activations: {error.filename or args.out}: {error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        progress.end()
        print("record_activations: interrupted; nothing was recorded", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
