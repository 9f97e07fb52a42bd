#!/usr/bin/env python3
"""Applies a transform that `olab export-transform` wrote to linear layers of PyTorch: Y = X W^T = (X T)(W T^-T)^T.

From the command line:

    scripts/apply_transform.py down_proj.safetensors                                  # what the file holds
    scripts/apply_transform.py down_proj.safetensors --check recordings/llama2-7b     # does it keep the product?
    scripts/apply_transform.py down_proj.safetensors --model meta-llama/Llama-2-7b-hf \\
        --layers 'model.layers.{0,1}.mlp.down_proj' -o transformed.pt                 # weights of the changed model

From Python (keep record_activations.py beside this file):

    from apply_transform import apply_to_linear, apply_to_model, load_transform
    transform = load_transform("down_proj.safetensors")
    layer = apply_to_linear(layer, transform)          # a module that gives what the layer gave
    apply_to_model(model, transform, ["*.down_proj"])  # the same for named layers of any torch.nn.Module

What a transformed layer holds is W T^-T, computed in float64 and rounded once to the weight's dtype, and T, which it
applies to its input in float32 (or float64, for such an input). Quantize what stands between: `layer.weight`, and the
output of `layer.transform`. Its T stays in float32 when the model is cast to another dtype.

The file is a safetensors file; methods/common/transform_file.hpp describes its tensors and metadata. PyTorch and NumPy
are needed (Debian: apt-get install python3-torch python3-numpy), and transformers for --model.

Exit status: 0 good, 1 the error of --check is above --bound, 2 something to correct, 130 interrupted.
"""

import argparse
import difflib
import json
import math
import struct
import sys
from pathlib import Path

from record_activations import RecordingError, _is_conv1d, _linear_layers, _load_language_model, _load_module, \
    choose_layers

# torch and numpy take seconds to load, so they are imported where they are first needed: --help and usage
# errors answer at once.

FORMAT, VERSION = "outlierlab-transform", 1
KINDS = {  # stage -> the tensors that it has, and those that it may have
    "channel_scale": (("scale",), ()),
    "permutation": (("order",), ()),
    "block_rotation": (("rotation",), ()),
    "hadamard": (("block",), ("signs", "core")),
}
NUMPY = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4"}
REMEDY = "write it again with olab export-transform"
WEIGHT_CHUNK_ITEMS = 1 << 24  # weights are transformed in pieces of about this many values


class TransformError(Exception):
    """Something the user can correct. The text is the whole message."""


# ------------------------------------------------------------------------------------------------- files


def read_safetensors(path, wanted=None):
    """(metadata, {name: NumPy array}) of a safetensors file; `wanted`: only tensors of these names. BF16 comes as
    float32. TransformError where the file is missing or damaged, or a tensor has a dtype that is not known here."""
    import numpy

    try:
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            head = file.read(8)
            length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
            if length > size - 8:
                raise TransformError(f"{path}: it is no safetensors file, or truncated")
            header = json.loads(file.read(length))
            metadata, arrays = header.pop("__metadata__", {}), {}
            for name, entry in header.items():
                if wanted is not None and name not in wanted:
                    continue
                dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
                if dtype not in NUMPY:
                    raise TransformError(f"{path}: tensor '{name}' is {dtype}, which is not read here; save it as F32")
                kind = numpy.dtype(NUMPY[dtype])
                if not 0 <= begin <= end <= size - 8 - length or end - begin != math.prod(shape) * kind.itemsize:
                    raise TransformError(f"{path}: tensor '{name}' does not lie where the header says; it is damaged")
                file.seek(8 + length + begin)
                values = numpy.frombuffer(file.read(end - begin), kind).reshape(shape)
                if dtype == "BF16":
                    values = (values.astype("<u4") << 16).view("<f4")
                arrays[name] = values.copy()
            return metadata, arrays
    except OSError as error:
        raise TransformError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TransformError(f"{path}: its header is damaged, or it is no safetensors file ({error})") from error


def load_transform(path):
    """The Transform in a file. TransformError where it is missing, no transform, newer than this script, or damaged."""
    import torch

    path = Path(path)
    metadata, arrays = read_safetensors(path)
    if metadata.get("format") != FORMAT:
        raise TransformError(f"{path}: it holds no transform: the metadata 'format' is {metadata.get('format')!r}, "
                             f"expected '{FORMAT}'; write one with olab export-transform")
    version, channels = _number(path, metadata, "format_version"), _number(path, metadata, "channels")
    if version > VERSION:
        raise TransformError(f"{path}: it has version {version} of the format, this script reads up to {VERSION}; "
                             "use a newer apply_transform.py")
    left, stages = dict(arrays), []
    try:
        listed = json.loads(metadata.get("stages", "null"))
        if not isinstance(listed, list):
            raise TransformError("the metadata 'stages' is no list")
        for number, entry in enumerate(listed):
            kind, tensors = entry["kind"], entry["tensors"]
            if kind not in KINDS:
                raise TransformError(f"stage {number}: no stage is called '{kind}'{_hint(kind, KINDS)}")
            needed, optional = KINDS[kind]
            for role in tensors:
                if role not in needed + optional:
                    raise TransformError(f"stage {number}: a {kind} has no tensor '{role}'")
            parts = {}
            for role in needed + tuple(r for r in optional if r in tensors):
                if tensors[role] not in left:
                    raise TransformError(f"stage {number} ({kind}): the tensor '{tensors[role]}' is not in the file, or "
                                         "belongs to another stage already")
                parts[role] = torch.from_numpy(left.pop(tensors[role]))
            _check_stage(number, kind, parts, channels)
            stages.append((kind, parts))
        if left:
            raise TransformError(f"no stage names the tensor '{next(iter(left))}'; {len(stages)} stages are listed")
    except (ValueError, KeyError, TypeError) as error:
        raise TransformError(f"{path}: the list of stages is damaged ({error!r}); {REMEDY}") from error
    except TransformError as error:
        raise TransformError(f"{path}: the list of stages is damaged: {error}; {REMEDY}") from None
    return _classes()[0](channels, stages, metadata)


def _number(path, metadata, key):
    text = metadata.get(key, "")
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise TransformError(f"{path}: the metadata '{key}' is '{text}', expected a whole number from 1 on; {REMEDY}")
    return int(text)


def _hint(name, known):
    near = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(known)}"


def _check_stage(number, kind, parts, channels):
    """TransformError where tensors do not fit the width."""

    def expect(role, good, what):
        if not good:
            shape = list(parts[role].shape)
            raise TransformError(f"stage {number} ({kind}): '{role}' has shape {shape}, expected {what}")

    for role in ("scale", "signs"):
        if role in parts:
            expect(role, parts[role].shape == (1, channels), [1, channels])
    if kind == "permutation":
        order = parts["order"]
        expect("order", order.shape == (channels,), [channels])
        if sorted(order.tolist()) != list(range(channels)):
            raise TransformError(f"stage {number} ({kind}): 'order' is no permutation of {channels} channels")
    if kind == "block_rotation":
        rows, block = parts["rotation"].shape if parts["rotation"].dim() == 2 else (0, 0)
        good = block > 0 and channels % block == 0 and rows in (block, channels)
        expect("rotation", good, "b x b, or one such matrix for each of the C / b blocks")
    if kind == "hadamard":
        expect("block", parts["block"].shape == (1,), [1])
        block, order = int(parts["block"][0]), 1
        if "core" in parts:
            order = len(parts["core"])
            expect("core", parts["core"].shape == (order, order), "a square matrix")
        if block < 1 or channels % block or block % order or (block // order).bit_count() != 1:
            raise TransformError(f"stage {number} ({kind}): a block of {block} does not fit {channels} channels and a "
                                 f"core of order {order}")


# --------------------------------------------------------------------------------------------- transforms


def _sylvester(x):
    """x times Sylvester's matrix of order n = 2^k, over the last axis."""
    shape, half = x.shape, 1
    while half < shape[-1]:
        pairs = x.reshape(*shape[:-1], -1, 2, half)
        first, second = pairs[..., 0, :], pairs[..., 1, :]
        x = _stack(first + second, first - second).reshape(shape)
        half *= 2
    return x


def _stack(first, second):
    import torch

    return torch.stack((first, second), -2)


def _apply_stage(x, kind, parts, to_weights):
    """x (… x channels) through one stage, in x's dtype; `to_weights`: T^-T instead of T."""

    def like(role):
        return parts[role].to(dtype=x.dtype, device=x.device)

    if kind == "channel_scale":
        return x * like("scale")[0] if to_weights else x / like("scale")[0]
    if kind == "permutation":
        return x[..., parts["order"].to(x.device)]
    # Everything below is orthogonal, so that T^-T = T.
    if kind == "block_rotation":
        rotation = like("rotation")
        block = rotation.shape[1]
        rows = x.reshape(*x.shape[:-1], -1, block)
        if len(rotation) == block:
            return (rows @ rotation).reshape(x.shape)
        return (rows.unsqueeze(-2) @ rotation.reshape(-1, block, block)).reshape(x.shape)
    block = int(parts["block"][0])
    if "signs" in parts:
        x = x * like("signs")[0]
    order = len(parts["core"]) if "core" in parts else 1
    rows = _sylvester(x.reshape(*x.shape[:-1], -1, order, block // order))
    if order > 1:
        rows = like("core").t() @ rows
    return (rows / math.sqrt(block)).reshape(x.shape)


_made = []


def _classes():
    """Transform and TransformedLinear, made once PyTorch is there; they are attributes of this module too."""
    if _made:
        return _made
    import torch

    global Transform, TransformedLinear

    class Transform(torch.nn.Module):
        """T = T1 T2 … Tk. Called with activations (… x channels) it gives x T in their dtype."""

        def __init__(self, channels, stages, metadata):
            super().__init__()
            self.channels, self.metadata = channels, metadata
            self.kinds = [kind for kind, _ in stages]
            for number, (_, parts) in enumerate(stages):
                for role, tensor in parts.items():
                    self.register_buffer(f"{number}_{role}", tensor)

        def parts(self, number):
            start = f"{number}_"
            return {name[len(start):]: tensor for name, tensor in self._buffers.items() if name.startswith(start)}

        def _through(self, x, to_weights):
            if x.shape[-1] != self.channels:
                raise TransformError(f"the transform is for {self.channels} channels, but the values have {x.shape[-1]}")
            for number, kind in enumerate(self.kinds):
                x = _apply_stage(x, kind, self.parts(number), to_weights)
            return x

        def forward(self, x):
            return self._through(x.to(torch.promote_types(x.dtype, torch.float32)), False).to(x.dtype)

        def weights(self, w):
            """w (out x channels) becomes w T^-T, computed in float64, in its own dtype."""
            step = max(1, WEIGHT_CHUNK_ITEMS // max(1, self.channels))
            return torch.cat([self._through(part.double(), True).to(w.dtype) for part in w.split(step)])

        def _apply(self, fn, *args, **options):
            # Moves with the model from device to device, but keeps its precision.
            before = dict(self._buffers)
            super()._apply(fn, *args, **options)
            for name, tensor in before.items():
                self._buffers[name] = tensor.to(self._buffers[name].device)
            return self

        def extra_repr(self):
            return f"{self.channels} channels: {' · '.join(self.kinds) or 'identity'}"

    class TransformedLinear(torch.nn.Module):
        """A linear layer on transformed channels: (x T)(W T^-T)^T + b. `weight` (out x in) is W T^-T."""

        def __init__(self, weight, bias, transform):
            super().__init__()
            self.out_features, self.in_features = weight.shape
            self.weight, self.bias, self.transform = weight, bias, transform

        def forward(self, x):
            return torch.nn.functional.linear(self.transform(x), self.weight, self.bias)

        def extra_repr(self):
            return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"

    _made[:] = Transform, TransformedLinear
    return _made


def __getattr__(name):
    if name in ("Transform", "TransformedLinear"):
        _classes()
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def apply_to_linear(linear, transform):
    """A TransformedLinear that gives what `linear` gives. `linear` (torch.nn.Linear, or transformers' Conv1D) is left
    as it is; the bias is shared with it. TransformError where the widths differ or the weight cannot be transformed."""
    import torch

    conv1d = _is_conv1d(linear)
    if not conv1d and not isinstance(linear, torch.nn.Linear):
        raise TransformError(f"a {type(linear).__name__} is no linear layer (torch.nn.Linear)")
    weight = linear.weight.detach()
    if weight.device.type == "meta" or not torch.is_floating_point(weight):
        what = "not in memory (offloaded)" if weight.device.type == "meta" else f"{weight.dtype}, not floating point"
        raise TransformError(f"the weight is {what}; transform the model before it is offloaded or quantized")
    weight = weight.t() if conv1d else weight
    if weight.shape[1] != transform.channels:
        raise TransformError(
            f"the transform is for {transform.channels} channels, but the layer has {weight.shape[1]}")
    made = torch.nn.Parameter(transform.weights(weight), requires_grad=linear.weight.requires_grad)
    return _classes()[1](made, linear.bias, transform).train(linear.training)


def apply_to_model(model, transform, layers=None):
    """Replaces linear layers of `model` by TransformedLinear, in place, and returns their names.

    model       any torch.nn.Module with named parts: a Hugging Face model, say
    layers      globs over the names of its linear layers: * ? {a,b}, and !pattern to leave out. Default: the layer that
                the transform was found on

    Nothing is replaced where one of the layers does not fit. TransformError (RecordingError: no such layer)."""
    parts = _linear_layers(model)
    if parts.get("linear") is model:
        raise TransformError("the model is a single layer; use apply_to_linear")
    names = choose_layers(list(parts), list(layers) if layers else [transform.metadata.get("layer", "*")])
    made = {}
    for name in names:
        try:
            made[parts[name]] = apply_to_linear(parts[name], transform)
        except TransformError as error:
            raise TransformError(f"layer '{name}': {error}") from None
    # A layer that stands at several places is replaced at each.
    for parent in list(model.modules()):
        for child, part in list(parent._modules.items()):  # named_children() leaves out what it told already
            if part in made:
                setattr(parent, child, made[part])
    return names


# -------------------------------------------------------------------------------------------------- check


def load_layer(recording, layer, tokens=0):
    """X (tokens x channels) and W (out x channels; None: not recorded) of a layer of a recording, as float32: a folder
    with manifest.json, or a safetensors file with '<layer>.x' and '<layer>.weight'. `tokens`: the first ones; 0: all."""
    import torch

    path = Path(recording)
    manifest = path if path.name == "manifest.json" else path / "manifest.json"
    if path.is_file() and path.suffix == ".safetensors":
        _, arrays = read_safetensors(path)
        found = {name[:-2]: (arrays[name], arrays.get(name[:-2] + ".weight")) for name in arrays if name.endswith(".x")}
        names = list(found)
    elif manifest.is_file():
        try:
            listed = {entry["name"]: entry for entry in json.loads(manifest.read_text("utf-8"))["layers"]}
        except (ValueError, KeyError, TypeError) as error:
            raise TransformError(f"{manifest}: it is no manifest of a recording ({error!r})") from error
        names, found = list(listed), {}
        if layer in listed:
            found[layer] = tuple(
                _tensor(manifest.parent, place) if (place := listed[layer].get(key)) else None for key in ("x", "weight"))
    else:
        raise TransformError(f"{recording}: a recording was expected: a folder with manifest.json, or a .safetensors file")
    if layer not in names:
        raise TransformError(f"{recording}: it has no layer '{layer}'{_hint(layer, names)}")
    x, w = (None if a is None else torch.from_numpy(a.astype("float32")) for a in found[layer])
    return (x[:tokens] if tokens else x), w


def _tensor(folder, place):
    import numpy

    path, name = folder / place["file"], place["tensor"]
    if path.suffix == ".safetensors":
        _, arrays = read_safetensors(path, [name])
        if name not in arrays:
            raise TransformError(f"{path}: it has no tensor '{name}'")
        return arrays[name]
    try:
        loaded = numpy.load(path, allow_pickle=False)
        return loaded if isinstance(loaded, numpy.ndarray) else loaded[name]
    except (OSError, ValueError, KeyError) as error:
        raise TransformError(f"{path}: it cannot be read ({error})") from error


def equivalence_error(x, w, transform):
    """|X W^T - (X T)(W T^-T)^T| / |X W^T| (Frobenius norms) of the layer as it runs: products in float32. Without W
    (None) W = I."""
    import torch

    w = torch.eye(transform.channels) if w is None else w
    if x.shape[-1] != w.shape[1]:
        raise TransformError(f"X has {x.shape[-1]} channels and W has {w.shape[1]}")
    linear = torch.nn.Linear(w.shape[1], w.shape[0], bias=False)
    with torch.no_grad():
        linear.weight.copy_(w)
        before = linear(x).double()
        after = apply_to_linear(linear, transform)(x).double()
    size = before.norm().item()
    error = (after - before).norm().item()
    return error / size if size else (math.inf if error else 0.0)


# ------------------------------------------------------------------------------------------- command line


def describe(path, transform):
    """What a file holds, as text."""
    data = transform.metadata
    lines = [f"{path}: {data.get('method', 'a transform')}"]
    for key in ("layer", "recording", "seed", "calibration_tokens", "calibrate_on", "key", "program_version"):
        if key in data:
            lines.append(f"  {key.replace('_', ' '):<19}{data[key]}")
    lines.append(f"  {'channels':<19}{transform.channels}")
    lines.append(f"  {'stages':<19}{len(transform.kinds) or 'none: the identity'}")
    for number, kind in enumerate(transform.kinds):
        shapes = ", ".join(f"{role} {list(tensor.shape)}" for role, tensor in transform.parts(number).items())
        lines.append(f"    {kind:<17}{shapes}")
    return "\n".join(lines)


def _parser():
    def positive(text):
        value = int(text)
        if value < 1:
            raise ValueError
        return value

    positive.__name__ = "number of at least 1"  # argparse prints it
    parser = argparse.ArgumentParser(
        description="Applies a transform that `olab export-transform` wrote to linear layers of PyTorch. Without an "
                    "option: prints what the file holds.",
        epilog="Exit status: 0 good, 1 the error of --check is above --bound, 2 something to correct, 130 interrupted.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the .safetensors file of a transform")
    check = parser.add_argument_group("does it keep the product X W^T?")
    check.add_argument("--check", metavar="RECORDING",
                       help="print |X W^T - (X T)(W T^-T)^T| / |X W^T| for X and W of a recording, in float32: a folder "
                            "with manifest.json, or a .safetensors file")
    check.add_argument("--layer", metavar="NAME", help="the layer (default: the one that the transform was found on)")
    check.add_argument("--tokens", type=positive, metavar="N", help="only the first N tokens (default: all)")
    check.add_argument("--bound", type=float, default=1e-4, metavar="E",
                       help="exit with 1 where the error is above E (default 1e-4; the rounding of float32 alone gives "
                            "1.4e-5 on 11008 channels with massive outliers)")
    apply = parser.add_argument_group("apply it to a model")
    apply.add_argument("--model", metavar="NAME", help="Hugging Face name or folder (needs transformers)")
    apply.add_argument("--module", metavar="FILE.py:FACTORY", help="any torch.nn.Module instead")
    apply.add_argument("--layers", nargs="+", metavar="GLOB",
                       help="which linear layers: * ? {a,b}; !GLOB leaves some out (default: the transform's own layer)")
    apply.add_argument("-o", "--out", type=Path, metavar="FILE.pt",
                       help="write the changed model's state_dict; load it into a model that apply_to_model has changed")
    return parser


def _run(args):
    if args.check and (args.model or args.module):
        raise TransformError("--check looks at a recording; leave out --model and --module")
    if args.model and args.module:
        raise TransformError("name either a Hugging Face --model or a --module FILE.py:FACTORY")
    if bool(args.model or args.module) != bool(args.out):
        raise TransformError("-o FILE.pt and a model (--model or --module) belong together")
    try:
        import numpy  # noqa: F401
        import torch
    except ImportError as error:
        raise TransformError(f"PyTorch and NumPy are needed ({error}): apt-get install python3-torch python3-numpy, "
                             "or pip install torch numpy") from error
    transform = load_transform(args.file)
    if args.check:
        layer = args.layer or transform.metadata.get("layer")
        if not layer:
            raise TransformError(f"{args.file} names no layer; give --layer NAME")
        x, w = load_layer(args.check, layer, args.tokens or 0)
        error = equivalence_error(x, w, transform)
        print(f"{layer}: equivalence error {error:.3g} on {len(x)} tokens"
              + ("" if w is not None else "; the recording has no W, so W = I"))
        if not error <= args.bound:
            print(f"apply_transform: the error is above {args.bound:g}", file=sys.stderr)
            return 1
    elif args.out:
        model = _load_module(args.module) if args.module else _load_language_model(args.model, torch.device("cpu"))[0]
        names = apply_to_model(model, transform, args.layers)
        torch.save(model.state_dict(), args.out)
        print(f"{args.out}: {len(names)} layers are transformed: {', '.join(names[:4])}"
              + (", …" if len(names) > 4 else ""))
    else:
        print(describe(args.file, transform))
    return 0


def main(argv=None):
    args = _parser().parse_args(argv)
    try:
        return _run(args)
    except (TransformError, RecordingError) as error:
        print(f"apply_transform: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"apply_transform: {error.filename or args.out}: {error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("apply_transform: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
