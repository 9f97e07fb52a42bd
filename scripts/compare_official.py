#!/usr/bin/env python3
"""Times the calibration of the released DuQuant code against olab's on the same tensors, and compares what both find.

    git clone https://github.com/Hsu1023/DuQuant && git -C DuQuant checkout 62c5844
    scripts/compare_official.py DuQuant --families massive normal gaussian --released-steps 32
    scripts/compare_official.py DuQuant --x down_proj_input.npy -o results/output/mine

Both rotate, permute by zigzag and rotate again, by the released code's search (pivot: row, fresh_q: per-search, score:
peak-to-peak, shared), each on one thread in a process of its own, in turn: released, olab, released, olab ...

- released: CPU time of UniformAffineQuantizer.online_duquant_cali in PyTorch, with OPENBLAS_CORETYPE set to what this
  CPU has (Debian's OpenBLAS takes kernels for SSE3 on CPUs that it does not know, which makes it 2.5 times slower).
  Twice: as it starts by itself, and with glibc told to keep freed memory (MALLOC_MMAP_MAX_=0). Every product makes a
  new matrix, and where the first touch of a page is dear, as on some virtual machines, that is most of its time.
- olab: CPU time of the same calibration with the random matrices that the released code drew, by a small plug-in
  (scripts/compare_official_steps.cpp) that is compiled against the build that --olab comes from; and the wall time
  (time.calibrate_s) of the method `duquant` as it is shipped, with random matrices of its own.
- Same exchanges: whether both exchanged the same rows in the same steps and dealt the channels alike.

Medians of --repeats. The generated families (float32, tokens x channels, from --seed):

  both      gaussian, six channels 20 times larger, and two values of +-1400 at one token
  massive   gaussian, and two values of +-1400 at one token
  normal    gaussian, six channels 20 times larger
  heavy     Student's t with 5 degrees of freedom, channels scaled by exp(0.5 times a normal number)
  gaussian  independent normal numbers of variance 1
  constant  gaussian, channels scaled as for heavy, then every block of every token scaled to the same norm

Needs PyTorch and NumPy (apt-get install python3-torch python3-numpy libopenblas0-pthread). The released code is used
where it lies and is no part of this project.

Exit status: 0 compared, 1 compared and what was found differs, 2 something to correct, 130 interrupted.
"""

import argparse
import contextlib
import json
import os
import platform
import re
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# NumPy and torch take seconds to load, so they are imported where they are first needed.

ROOT = Path(__file__).resolve().parent.parent
PLUGIN_SOURCE = Path(__file__).resolve().parent / "compare_official_steps.cpp"
FAMILIES = ("both", "massive", "normal", "heavy", "gaussian", "constant")
MODES = {  # of the released code: what is added to its environment
    "as started": {},
    "memory kept": {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)},
}
EVALUATION_TOKENS = 16  # a study wants some; they come after the calibration tokens and are not timed
TIE = 1e-5  # relative: rounding of x R over a block
SEARCH = "search: exact, pivot: row, fresh_q: per-search, score: peak-to-peak, share_rotation: true"


class CompareError(Exception):
    """Something the user can correct. The text is the whole message."""


# --------------------------------------------------------------------------------------------------- data


def family(name, tokens, channels, block, seed):
    """One of FAMILIES as a float32 array, tokens x channels; see the head of this file."""
    import numpy as np

    random = np.random.default_rng([seed, FAMILIES.index(name)])
    if name == "heavy":
        x = random.standard_t(5, (tokens, channels))
    else:
        x = random.standard_normal((tokens, channels))
    if name in ("heavy", "constant"):
        x *= np.exp(0.5 * random.standard_normal(channels))
    if name in ("both", "normal"):
        x[:, random.choice(channels, min(6, channels), replace=False)] *= 20
    if name in ("both", "massive"):
        token = random.integers(tokens)
        x[token, random.choice(channels, min(2, channels), replace=False)] = [1400, -1400][: min(2, channels)]
    if name == "constant":
        blocks = x.reshape(tokens, channels // block, block)
        blocks *= np.sqrt(block) / np.linalg.norm(blocks, axis=2, keepdims=True)
    return x.astype(np.float32)


def load_x(path, block):
    import numpy as np

    try:
        x = np.load(path, allow_pickle=False)
    except OSError as error:
        raise CompareError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise CompareError(f"{path} holds no plain array: {error}") from error
    if not isinstance(x, np.ndarray) or x.ndim != 2 or x.dtype.kind != "f" or not x.size:
        raise CompareError(f"{path}: expected a .npy file with tokens x channels floating-point values")
    if x.shape[1] % block:
        raise CompareError(f"{path} has {x.shape[1]} channels, no multiple of --block-size {block}")
    if not np.isfinite(x).all():
        raise CompareError(f"{path} holds a NaN or an infinity")
    return np.ascontiguousarray(x, dtype=np.float32)


# ------------------------------------------------------------------------------------- the released code
# This part runs in a process of its own, started as `compare_official.py --worker CHECKOUT BLOCK`: its environment is
# what torch's BLAS looks at when it is loaded. Requests and answers are lines of JSON.


def _import_quantizer(checkout):
    """The module quantize.quantizer of the checkout. Packages that it imports and that are absent here (termcolor,
    transformers ...) are not needed for a calibration: an empty module stands in for each."""
    import types

    class Absent(types.ModuleType):
        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            return lambda *arguments, **_: arguments[0] if arguments else None

    sys.path.insert(0, str(checkout))
    stubs = []
    while True:
        try:
            import quantize.quantizer as module

            return module, stubs
        except ModuleNotFoundError as error:
            name = (error.name or "").split(".")[0]
            if not name or name in stubs or name in ("torch", "numpy", "quantize", "utils", "models"):
                raise
            stubs.append(name)
            sys.modules[name] = Absent(name)
            for loaded in [m for m in sys.modules if m.split(".")[0] in ("quantize", "utils", "models")]:
                del sys.modules[loaded]


def _make_base_rotation(checkout, block):
    """Rot.pkl in the current folder, where the released code looks for it: the checkout's own where it has the block
    size, else what the checkout's get_rot.py makes, told to use the CPU and to make one size instead of all."""
    import pickle

    ready = checkout / "Rot.pkl"
    if ready.exists():
        with open(ready, "rb") as file:
            if block in pickle.load(file):
                shutil.copy(ready, "Rot.pkl")
                return "Rot.pkl of the checkout"
    text = (checkout / "get_rot.py").read_text("utf-8")
    text, devices = re.subn(r"device\s*=\s*(['\"])cuda\1", "device = 'cpu'", text)
    text, sizes = re.subn(r"for n in \[.*\]:", f"for n in [{block}]:", text, count=1)
    if devices != 1 or sizes != 1:
        raise CompareError("get_rot.py of the checkout is not as in commit 62c5844")
    names = {"__name__": "__main__"}
    try:
        import tqdm  # noqa: F401
    except ImportError:
        import types

        sys.modules["tqdm"] = types.ModuleType("tqdm")
        sys.modules["tqdm"].tqdm = lambda items: items
    exec(compile(text, "get_rot.py", "exec"), names)  # the user's own checkout
    return "get_rot.py of the checkout"


def _blas():
    """What torch multiplies with: (name, kernels that OpenBLAS chose or None)."""
    import ctypes

    import torch

    torch.ones(64, 64) @ torch.ones(64, 64)
    for line in Path("/proc/self/maps").read_text().splitlines() if os.path.exists("/proc/self/maps") else ():
        path = line.split()[-1]
        if "openblas" in os.path.basename(os.path.realpath(path)) or "openblas" in path:
            try:
                core = ctypes.CDLL(path).openblas_get_corename
                core.restype = ctypes.c_char_p
                return "OpenBLAS", core().decode()
            except (OSError, AttributeError):
                return "OpenBLAS", None
    return ("MKL" if torch.backends.mkl.is_available() else "a BLAS that is not OpenBLAS"), None


class _Released:
    """The released quantizer with a clock round each part and an ear at what it draws and finds."""

    def __init__(self, module, block):
        self.module, self.block = module, block
        self.get_rot = module.get_rot

    def calibrate(self, x, steps, seed):
        import torch

        drawn, exchanges, permutations, maxima, parts = [], [], [], [], {}

        def get_rot(*arguments, **keywords):
            drawn.append(self.get_rot(*arguments, **keywords))
            return drawn[-1]

        def clocked(name, function, keep):
            def run(x, *arguments, **keywords):
                started = time.process_time()
                result = function(x, *arguments, **keywords)
                parts[name] = parts.get(name, 0.0) + time.process_time() - started
                keep(x, result)
                return result

            return run

        def keep_permutation(x, result):
            maxima.append(x.abs().amax(0).tolist())
            permutations.append(result[1].tolist())

        quantizer = self.module.UniformAffineQuantizer(
            n_bits=4, dynamic=True, dynamic_method="per_token", quant_method="duquant", block_size=self.block,
            rotate=True, max_rotation_step=steps, permutation_times=1)
        quantizer.rotation = clocked("rotations", quantizer.rotation,
                                     lambda _, result: exchanges.append(list(map(int, result[1]))))
        quantizer.permutation_zigzag = clocked("zigzag", quantizer.permutation_zigzag, keep_permutation)
        torch.manual_seed(seed)
        self.module.get_rot = get_rot
        try:
            started, wall = time.process_time(), time.perf_counter()
            with torch.no_grad():
                quantizer.online_duquant_cali(x)
            seconds, wall = time.process_time() - started, time.perf_counter() - wall
        finally:
            self.module.get_rot = self.get_rot
        if len(drawn) != 2 or len(exchanges) != 2 or len(permutations) != 1:
            raise CompareError(f"the checkout drew {len(drawn)} matrices in {len(exchanges)} rotations and "
                               f"{len(permutations)} permutations; expected 2, 2 and 1 as in commit 62c5844")
        found = {"cpu_s": seconds, "wall_s": wall, "parts": parts, "exchanges": exchanges,
                 "permutation": permutations[0], "channel_maxima": maxima[0]}
        return found, drawn


def worker(checkout, block):
    """Serves requests until its input ends: {"x": file, "steps", "seed", "folder" or null}."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the released code prints goes to the log
    checkout = Path(checkout)

    def answer(**fields):
        print(json.dumps(fields), file=answers, flush=True)

    try:
        import numpy as np
        import torch

        torch.set_num_threads(1)
        origin = _make_base_rotation(checkout, block)
        module, stubs = _import_quantizer(checkout)
        blas, core = _blas()
        answer(torch=torch.__version__, blas=blas, blas_kernels=core, stubs=stubs, base_rotation=origin)
        released = _Released(module, block)
        loaded = None
        for line in sys.stdin:
            request = json.loads(line)
            if loaded != request["x"]:
                x, loaded = torch.from_numpy(np.load(request["x"])), request["x"]
            found, drawn = released.calibrate(x, request["steps"], request["seed"])
            for number, matrix in enumerate(drawn if request["folder"] else []):
                matrix.detach().float().contiguous().numpy().tofile(f"{request['folder']}/step{number}.f32")
            answer(**found)
    except CompareError as error:
        answer(error=str(error))
    except Exception as error:  # whatever the released code raises
        import traceback

        traceback.print_exc()
        answer(error=f"the released code failed: {type(error).__name__}: {error}")


class Worker:
    """The process of the released code."""

    def __init__(self, checkout, block, folder, environment):
        folder.mkdir()
        self.log = folder / "released.log"
        command = [sys.executable, str(Path(__file__).resolve()), "--worker", str(checkout), str(block)]
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                                            text=True, cwd=folder, env=environment)
        self.facts = self._answer()

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            status = self.process.wait()
            tail = " | ".join(self.log.read_text("utf-8", "replace").splitlines()[-3:])
            raise CompareError(f"the process of the released code ended (status {status}): {tail}")
        answer = json.loads(line)
        if "error" in answer:
            raise CompareError(answer["error"])
        return answer

    def calibrate(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def core_type():
    """The OpenBLAS kernels of this CPU, or None on machines that are no x86-64."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return None
    try:
        flags = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        flags = None
    words = flags[1].split() if flags else []
    return "SKYLAKEX" if all(f in words for f in ("avx512f", "avx512dq", "avx512bw", "avx512vl")) else "HASWELL"


# --------------------------------------------------------------------------------------------------- olab


def build_plugin(olab, folder):
    """Compiles the plug-in with the flags of the build that `olab` comes from. Returns (file, None) or (None, why
    not)."""
    build = olab.parent.parent
    try:
        entries = json.loads((build / "compile_commands.json").read_text("utf-8"))
        flags = next(e for e in entries if e["file"].endswith("/methods/duquant.cpp"))
    except (OSError, ValueError, StopIteration):
        return None, f"{olab} does not lie in a build folder with compile_commands.json"
    words, command = iter(shlex.split(flags["command"])), []
    for word in words:
        if word in ("-o", "-c", "-MT", "-MF"):
            next(words)
        elif word not in ("-MD", "-Werror") and not re.match(r"-D(olab_methods_EXPORTS|olab_register_)", word):
            command.append(word)
    out = folder / "compare_official_steps.so"
    command += ["-DOLAB_OUT_OF_TREE", "-shared", str(PLUGIN_SOURCE), "-o", str(out), "-L", str(build / "lib"),
                "-lolab_methods", "-lolab_core", "-lfmt"]
    done = subprocess.run(command, cwd=flags["directory"], capture_output=True, text=True)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
        return None, f"the plug-in does not compile: {errors[0] if errors else done.returncode}"
    return out, None


class Olab:
    """Runs of the program over one recording."""

    def __init__(self, program, plugin, folder, environment):
        self.program, self.plugin, self.folder, self.environment = program, plugin, folder, environment
        self.runs = 0

    def _call(self, *arguments):
        plugin = ["--plugin", str(self.plugin)] if self.plugin else []
        command = [str(self.program), *plugin, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.folder, env=self.environment)
        if done.returncode:
            words = (done.stderr.strip() or done.stdout.strip()).splitlines()
            raise CompareError(f"olab {arguments[0]} failed: {words[-1] if words else f'status {done.returncode}'}")
        return done.stdout

    def calibrate(self, method, tokens):
        """Wall seconds of the calibration, from the store. `method`: one line of YAML."""
        self.runs += 1
        study, out = self.folder / f"study{self.runs}.yaml", self.folder / f"out{self.runs}"
        study.write_text(f"study: comparison\n"
                         f"data: {{recording: x.npz, calibration_tokens: {tokens}, "
                         f"evaluation_tokens: {EVALUATION_TOKENS}}}\n"
                         f"quantizer: {{activation: {{bits: 4}}}}\n"
                         f"methods:\n  - {method}\n"
                         f"metrics: [absmax]\nviews: []\n", "utf-8")
        self._call("run", study.name, "--out", out, "--jobs", 1, "--quiet")
        try:
            runs = json.loads(self._call("export", "--format", "json", "--out", out))
            return float(runs[0]["time.calibrate_s"])
        except (ValueError, LookupError, TypeError) as error:
            raise CompareError(f"olab export gave no time.calibrate_s ({error})") from error
        finally:
            shutil.rmtree(out, ignore_errors=True)

    def shipped(self, block, steps, tokens):
        return self.calibrate(f"duquant: {{smooth: false, {SEARCH}, block_size: {block}, max_rotation_step: {steps}}}",
                              tokens)

    def with_given_steps(self, block, steps, tokens):
        """What the plug-in found: cpu_s, exchanges, permutation."""
        self.calibrate(f"given_steps: {{folder: {json.dumps(str(self.folder))}, {SEARCH}, block_size: {block}, "
                       f"max_rotation_step: {steps}}}", tokens)
        return json.loads((self.folder / "found.json").read_text("utf-8"))


# ---------------------------------------------------------------------------------------------- comparing


def difference(released, olab):
    """What both found: (whether it is the same, where it is not or None). Channels whose maxima are equal but for
    float rounding may be dealt either way; then the second searches see different blocks and are not compared."""
    for number, (theirs, ours) in enumerate(zip(released["exchanges"], olab["exchanges"]), 1):
        if theirs != ours:
            step = next((k for k, pair in enumerate(zip(theirs, ours)) if pair[0] != pair[1]),
                        min(len(theirs), len(ours)))
            return False, f"rotation {number}, step {step} of {len(theirs)} (olab: {len(ours)})"
        if number == 1:
            maxima = released["channel_maxima"]
            swapped = [(maxima[a], maxima[b]) for a, b in zip(released["permutation"], olab["permutation"]) if a != b]
            if swapped:
                tied = all(abs(a - b) <= TIE * max(a, b) for a, b in swapped)
                text = f"{len(swapped)} of {len(maxima)} positions of the permutation"
                return tied, f"{text} tied" if tied else text
    return True, None


def compare(name, x, workers, olab, args, note):
    """All measurements of one tensor: a row of the report. `workers`: mode -> Worker."""
    import numpy as np

    tokens = len(x)
    source = olab.folder / f"x{olab.runs}.npy"  # a name of its own: the worker keeps what it has loaded
    np.save(source, x)
    # The tokens behind the calibration tokens only satisfy the study.
    rest = np.resize(x[:EVALUATION_TOKENS], (EVALUATION_TOKENS, x.shape[1]))
    np.savez(olab.folder / "x.npz", **{"layer.x": np.concatenate([x, rest])})
    folder, path = str(olab.folder), str(source)
    timed_steps = args.released_steps or args.steps
    row = {"name": name, "tokens": tokens, "channels": x.shape[1], "released_steps": timed_steps,
           "released": {mode: {"cpu_s": [], "wall_s": [], "parts_s": [], "base_cpu_s": []} for mode in workers},
           "olab_cpu_s": [], "olab_wall_s": [], "same": None, "difference": None}
    for worker in workers.values():  # once without a clock: pages, thread pools and files are warm then
        worker.calibrate(x=path, steps=1, seed=args.seed, folder=None)
    for repeat in range(args.repeats):
        for mode, worker in workers.items():
            theirs = worker.calibrate(x=path, steps=timed_steps, seed=args.seed + repeat, folder=folder)
            times = row["released"][mode]
            times["cpu_s"].append(theirs["cpu_s"])
            times["wall_s"].append(theirs["wall_s"])
            times["parts_s"].append(theirs["parts"])
            if timed_steps != args.steps:
                base = worker.calibrate(x=path, steps=0, seed=args.seed + repeat, folder=None)
                times["base_cpu_s"].append(base["cpu_s"])
        row["olab_wall_s"].append(olab.shipped(args.block_size, args.steps, tokens))
        if olab.plugin:
            ours = olab.with_given_steps(args.block_size, args.steps, tokens)
            row["olab_cpu_s"].append(ours["cpu_s"])
            if timed_steps != args.steps:
                ours = olab.with_given_steps(args.block_size, timed_steps, tokens)
            same, where = difference(theirs, ours)
            if row["same"] is None or (row["same"] and (not same or where)):
                row["same"], row["difference"] = same, where
        clocks = ", ".join(f"{times['cpu_s'][-1]:.3g} s ({mode})" for mode, times in row["released"].items())
        note(f"{name}: {repeat + 1}/{args.repeats}: released {clocks} with {timed_steps} steps, olab "
             f"{(row['olab_cpu_s'] or row['olab_wall_s'])[-1]:.3g} s with {args.steps}")
    source.unlink()
    row["olab_s"] = statistics.median(row["olab_cpu_s"] or row["olab_wall_s"])
    for times in row["released"].values():
        times["s"] = measured = statistics.median(times["cpu_s"])
        if timed_steps != args.steps:
            base = statistics.median(times["base_cpu_s"])
            times["s"] = base + (measured - base) * args.steps / timed_steps
        times["ratio"] = times["s"] / row["olab_s"]
    return row


def markdown(report):
    facts, settings = report["machine"], report["settings"]
    kernels = f"{facts['blas']}" + (f", kernels {facts['blas_kernels']}" if facts["blas_kernels"] else "")
    scaled = settings["released_steps"] and settings["released_steps"] != settings["steps"]
    lines = [
        "# Calibration of DuQuant: released code against olab",
        "",
        f"{facts['cpu']}; one thread each; block size {settings['block_size']}, {settings['steps']} steps a rotation; "
        f"medians of {settings['repeats']}, the two taking turns.",
        "",
        f"- Released: CPU time, PyTorch {facts['torch']} on {kernels}, OPENBLAS_CORETYPE={facts['core_type']}; "
        "as it starts by itself, and with glibc told to keep freed memory, which spares first touches of pages."
        + (f" **Measured with {settings['released_steps']} steps and with none, and scaled to {settings['steps']}.**"
           if scaled else ""),
        ("- olab: CPU time of the calibration with the released code's random matrices; wall: `time.calibrate_s` of "
         "`duquant` as shipped." if not report["plugin_missing"] else
         f"- olab: wall time (`time.calibrate_s`) of `duquant` as shipped, so ratios are lower bounds. The exchanges "
         f"could not be compared: {report['plugin_missing']}."),
        f"- Same exchanges: over {settings['released_steps'] or settings['steps']} steps a rotation, the permutation "
        "included, in all repeats. Where channels tied to float rounding were dealt differently, that is said, and the "
        "second rotation is not compared.",
    ]
    lines += [f"- **Warning: {text}.**" for text in report["warnings"]]
    lines += ["", "| family | tensor | released s | released s, memory kept | olab s | olab wall s | ratio | "
              "ratio, memory kept | same exchanges |", "|---|---|---|---|---|---|---|---|---|"]
    for row in report["rows"]:
        same = {None: "not compared", True: "yes", False: "no"}[row["same"]]
        if row["difference"]:
            same += f": {row['difference']}"
        plain, kept = (row["released"][mode] for mode in MODES)
        lines.append(f"| {row['name']} | {row['tokens']} x {row['channels']} | {plain['s']:.3g} | {kept['s']:.3g} | "
                     f"{row['olab_s']:.3g} | {statistics.median(row['olab_wall_s']):.3g} | {plain['ratio']:.0f} | "
                     f"{kept['ratio']:.0f} | {same} |")
    return "\n".join(lines) + "\n"


def _cpu_name():
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if found:
            return found[1]
    return platform.processor() or platform.machine()


# ------------------------------------------------------------------------------------------- command line


def _parser():
    def positive(text):
        value = int(text)
        if value < 1:
            raise ValueError(text)
        return value

    positive.__name__ = "number of at least 1"
    parser = argparse.ArgumentParser(
        description="Times the released DuQuant code's calibration against olab's on the same tensors.",
        epilog="Exit status: 0 compared, 1 compared and what was found differs, 2 something to correct, "
               "130 interrupted.")
    parser.add_argument("checkout", type=Path, metavar="CHECKOUT", help="the released repository, at commit 62c5844")
    parser.add_argument("--olab", type=Path, default=ROOT / "build/release/bin/olab", metavar="FILE",
                        help="the program (default: build/release/bin/olab)")
    parser.add_argument("--families", nargs="*", choices=FAMILIES, metavar="NAME",
                        help=f"generated tensors: {', '.join(FAMILIES)} (default: all, or none where --x is given)")
    parser.add_argument("--x", type=Path, nargs="+", default=[], metavar="FILE.npy",
                        help="tensors of your own, tokens x channels")
    parser.add_argument("--tokens", type=positive, default=2048, metavar="N", help="of generated tensors (2048)")
    parser.add_argument("--channels", type=positive, default=4096, metavar="N", help="of generated tensors (4096)")
    parser.add_argument("--block-size", type=positive, default=128, metavar="N", help="channels per block (128)")
    parser.add_argument("--steps", type=positive, default=256, metavar="N", help="greedy steps a rotation (256)")
    parser.add_argument("--released-steps", type=positive, metavar="N",
                        help="time the released code with so many steps (and with none) and scale to --steps; its time "
                             "is linear in them")
    parser.add_argument("--repeats", type=positive, default=7, metavar="N", help="measurements of each (7)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the tensors and of the released code (0)")
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "results/output/compare_official", metavar="FOLDER",
                        help="receives compare_official.md and .json (default: results/output/compare_official)")
    return parser


def _check(args):
    for name in ("quantize/quantizer.py", "utils.py", "get_rot.py"):
        if not (args.checkout / name).is_file():
            raise CompareError(f"{args.checkout} has no {name}; CHECKOUT is the folder of the released repository "
                               "(git clone https://github.com/Hsu1023/DuQuant)")
    if not os.access(args.olab, os.X_OK) or args.olab.is_dir():
        raise CompareError(f"there is no program {args.olab}; build it (scripts/quickstart) or name it with --olab")
    if args.families is None:
        args.families = [] if args.x else list(FAMILIES)
    if not args.families and not args.x:
        raise CompareError("nothing to compare: name --families or --x")
    if args.families and args.channels % args.block_size:
        raise CompareError(f"--channels {args.channels} is no multiple of --block-size {args.block_size}")
    if args.released_steps and args.released_steps > args.steps:
        raise CompareError(f"--released-steps {args.released_steps} is more than --steps {args.steps}")
    try:
        import numpy  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise CompareError(
            f"PyTorch and NumPy are needed ({error}): apt-get install python3-torch python3-numpy libopenblas0-pthread"
        ) from error


def _run(args, note):
    _check(args)
    tensors = [(path.stem, lambda path=path: load_x(path, args.block_size)) for path in args.x]
    for _, load in tensors:
        load()  # errors come before minutes of work
    tensors += [(name, lambda name=name: family(name, args.tokens, args.channels, args.block_size, args.seed))
                for name in args.families]
    core = core_type()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    environment.pop("OLAB_CPU_LEVEL", None)
    if core:
        environment["OPENBLAS_CORETYPE"] = core
    rows, warnings = [], []
    with tempfile.TemporaryDirectory(prefix="compare_official.") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        plugin, plugin_missing = build_plugin(args.olab.resolve(), folder)
        if plugin_missing:
            note(f"exchanges are not compared: {plugin_missing}")
        workers = {}
        for mode, more in MODES.items():
            workers[mode] = Worker(args.checkout.resolve(), args.block_size, folder / mode, {**environment, **more})
            stack.callback(workers[mode].close)
        facts = next(iter(workers.values())).facts
        if facts["blas"] != "OpenBLAS":
            warnings.append(f"this PyTorch multiplies with {facts['blas']}, not with OpenBLAS, and OPENBLAS_CORETYPE has "
                            "no effect: its times may be far from those of a good build; on Debian apt-get install "
                            "libopenblas0-pthread")
        elif core and facts["blas_kernels"] and facts["blas_kernels"].upper() != core:
            warnings.append(f"OpenBLAS uses the kernels {facts['blas_kernels']} although {core} was asked for")
        for text in warnings:
            note(f"WARNING: {text}")
        olab = Olab(args.olab.resolve(), plugin, folder, environment)
        for tensor, load in tensors:
            rows.append(compare(tensor, load(), workers, olab, args, note))
    report = {
        "machine": {"cpu": _cpu_name(), "core_type": core or "unset", "python": platform.python_version(), **facts},
        "settings": {key: getattr(args, key) for key in
                     ("tokens", "channels", "block_size", "steps", "released_steps", "repeats", "seed")},
        "measured": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "plugin_missing": plugin_missing,
        "warnings": warnings,
        "rows": rows,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    text = markdown(report)
    (args.out / "compare_official.md").write_text(text, "utf-8")
    (args.out / "compare_official.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print(text, end="")
    return 1 if any(row["same"] is False for row in rows) else 0


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    if len(argv) == 3 and argv[0] == "--worker":
        worker(argv[1], int(argv[2]))
        return 0
    args = _parser().parse_args(argv)

    def stop(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        return _run(args, lambda text: print(f"compare_official: {text}", file=sys.stderr, flush=True))
    except CompareError as error:
        print(f"compare_official: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"compare_official: {error.filename or args.out}: {error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("compare_official: interrupted; nothing was written", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
