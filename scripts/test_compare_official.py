#!/usr/bin/env python3
"""Tests of compare_official.py on a stand-in for the released repository, with a real PyTorch (Debian: apt-get install
python3-torch python3-numpy).

Run: /usr/bin/python3 scripts/test_compare_official.py
With OLAB_BIN=build/release/bin/olab the program itself is compared too; else a stand-in of it.
"""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import unittest
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import compare_official  # noqa: E402

# The entry points that the script uses, with a plain search behind them.
QUANTIZER = '''
import torch
import absent_one  # and not needed
from utils import get_rot
from quantize.const import FIRST


class UniformAffineQuantizer:
    def __init__(self, n_bits, dynamic, dynamic_method, quant_method, block_size, rotate, max_rotation_step,
                 permutation_times):
        self.b, self.steps = block_size, max_rotation_step

    def rotation(self, x):
        rows = x.reshape(-1, self.b)
        start, kept = rows.clone(), torch.eye(self.b)
        step = get_rot(self.b)
        best, best_rotation, found, exchanges = rows.max() - rows.min(), kept, [], []
        for _ in range(self.steps):
            flat = rows.abs().argmax().item()
            found.append(flat // self.b)
            order = torch.arange(self.b)
            order[[0, found[-1] % self.b]] = order[[found[-1] % self.b, 0]]
            kept = kept @ step[order][:, order]
            rows = start @ kept
            if rows.max() - rows.min() < best:
                best, best_rotation, exchanges = rows.max() - rows.min(), kept, list(found)
        return (start @ best_rotation).reshape(x.shape), exchanges, best_rotation

    def permutation_zigzag(self, x):
        order = torch.argsort(x.abs().amax(0), descending=True, stable=True)
        blocks = [[] for _ in range(x.shape[1] // self.b)]
        for i, channel in enumerate(order.tolist()):
            turn, place = divmod(i, len(blocks))
            blocks[place if turn % 2 == 0 else len(blocks) - 1 - place].append(channel)
        order = torch.tensor(sum(blocks, []))
        return x[:, order], order

    def online_duquant_cali(self, x):
        print("this goes to the log")
        x, _, _ = self.rotation(x)
        x, _ = self.permutation_zigzag(x)
        return self.rotation(x)[0]
'''
UTILS = '''
import pickle
import torch
from absent_two import colored


def get_rot(n):
    with open("Rot.pkl", "rb") as file:
        base = pickle.load(file)[n]
    q = torch.eye(n)
    q[1:, 1:] = torch.linalg.qr(torch.randn(n - 1, n - 1))[0]
    return base @ q
'''
GET_ROT = '''
import pickle
import torch
device = 'cuda'
for n in [int(2**i) for i in range(1, 13)]:
    with open("Rot.pkl", "wb") as file:
        pickle.dump({n: torch.linalg.qr(torch.ones(n, n).to(device) + torch.eye(n))[0]}, file)
'''
# olab run writes the database, olab export prints it; no plug-in, for it lies in no build folder.
OLAB = '''#!/usr/bin/env python3
import json, pathlib, sys
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
if sys.argv[1] == "run":
    study = pathlib.Path(sys.argv[2]).read_text()
    if "max_rotation_step: 13" in study:
        sys.exit("olab: no luck")
    assert sys.argv[sys.argv.index("--jobs") + 1] == "1" and "pivot: row" in study
    out.mkdir()
    (out / "olab.db").write_text(study)
else:
    print(json.dumps([{"time.calibrate_s": 0.125}] if (out / "olab.db").exists() else []))
'''


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.checkout = self.folder / "checkout"
        (self.checkout / "quantize").mkdir(parents=True)
        for name, text in (("quantize/__init__.py", ""), ("quantize/const.py", "FIRST = 0\n"), ("utils.py", UTILS),
                           ("quantize/quantizer.py", QUANTIZER), ("get_rot.py", GET_ROT)):
            (self.checkout / name).write_text(text)
        self.olab = self.folder / "olab"
        self.olab.write_text(OLAB)
        self.olab.chmod(0o755)
        self.out = self.folder / "out"

    def run_script(self, *arguments, olab=None):
        out, error = io.StringIO(), io.StringIO()
        handler = signal.getsignal(signal.SIGTERM)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
                status = compare_official.main([str(a) for a in (
                    self.checkout, "--olab", olab or self.olab, "-o", self.out, "--block-size", 8, *arguments)])
        except SystemExit as end:  # argparse
            status = end.code
        finally:
            signal.signal(signal.SIGTERM, handler)
        return status, out.getvalue(), error.getvalue()

    def report(self):
        return json.loads((self.out / "compare_official.json").read_text("utf-8"))


class Data(unittest.TestCase):
    def test_families_are_what_the_help_says(self):
        made = {name: compare_official.family(name, 200, 64, 16, 3) for name in compare_official.FAMILIES}
        for name, x in made.items():
            self.assertEqual((x.shape, x.dtype), ((200, 64), np.float32), name)
            self.assertTrue(np.array_equal(x, compare_official.family(name, 200, 64, 16, 3)), name)
            self.assertFalse(np.array_equal(x, compare_official.family(name, 200, 64, 16, 4)), name)
        for name in ("both", "massive"):
            rows, _ = np.nonzero(np.abs(made[name]) == 1400)
            self.assertEqual(len(rows), 2)
            self.assertEqual(rows[0], rows[1])
        for name in ("both", "normal"):
            self.assertEqual(int((np.median(np.abs(made[name]), 0) > 5).sum()), 6)
        self.assertLess(np.abs(made["gaussian"]).max(), 6)
        self.assertGreater(np.abs(made["heavy"]).max(), 6)
        norms = np.linalg.norm(made["constant"].reshape(-1, 16), axis=1)
        np.testing.assert_allclose(norms, 4, rtol=1e-5)

    def test_the_kernels_are_those_of_this_cpu(self):
        self.assertIn(compare_official.core_type(), ("SKYLAKEX", "HASWELL", None))

    def test_a_difference_is_told_where_it_begins(self):
        a = {"exchanges": [[3, 1, 2], [5]], "permutation": [0, 1, 2], "channel_maxima": [3.0, 2.0, 2.000001]}
        self.assertEqual(compare_official.difference(a, a), (True, None))
        for expected, other in (
            ((False, "rotation 1, step 1 of 3 (olab: 3)"), {**a, "exchanges": [[3, 0, 2], [5]]}),
            ((False, "rotation 1, step 2 of 3 (olab: 2)"), {**a, "exchanges": [[3, 1], [5]]}),
            ((False, "2 of 3 positions of the permutation"), {**a, "permutation": [1, 0, 2]}),
            ((True, "2 of 3 positions of the permutation tied"),
             {**a, "permutation": [0, 2, 1], "exchanges": [[3, 1, 2], [6]]}),
            ((False, "rotation 2, step 0 of 1 (olab: 1)"), {**a, "exchanges": [[3, 1, 2], [6]]}),
        ):
            self.assertEqual(compare_official.difference(a, other), expected)


class CommandLine(Case):
    def test_a_table_and_its_numbers(self):
        np.save(self.folder / "mine.npy", np.random.default_rng(0).standard_normal((20, 32)))
        status, out, error = self.run_script("--families", "massive", "--x", self.folder / "mine.npy", "--tokens", 30,
                                             "--channels", 16, "--steps", 6, "--repeats", 2)
        self.assertEqual(status, 0, error)
        self.assertEqual(out, (self.out / "compare_official.md").read_text("utf-8"))
        self.assertRegex(out, r"\| mine \| 20 x 32 \| [\d.e-]+ \| [\d.e-]+ \| 0\.125 \| 0\.125 \| \d+ \| \d+ \| not compared \|")
        self.assertRegex(out, r"\| massive \| 30 x 16 \|")
        self.assertIn("lower bounds", out)
        self.assertIn("exchanges are not compared: ", error)
        report = self.report()
        self.assertEqual(report["machine"]["stubs"], ["absent_one", "absent_two"])
        self.assertEqual(report["machine"]["base_rotation"], "get_rot.py of the checkout")
        for row in report["rows"]:
            self.assertEqual(row["olab_wall_s"], [0.125, 0.125])
            for mode in compare_official.MODES:
                times = row["released"][mode]
                self.assertEqual(len(times["cpu_s"]), 2)
                self.assertAlmostEqual(times["ratio"], sum(times["cpu_s"]) / 2 / 0.125, places=9)

    def test_fewer_steps_are_scaled_and_it_is_said(self):
        status, out, error = self.run_script("--families", "normal", "--tokens", 30, "--channels", 16, "--steps", 40,
                                             "--released-steps", 10, "--repeats", 1)
        self.assertEqual(status, 0, error)
        self.assertIn("Measured with 10 steps and with none, and scaled to 40.", out)
        for times in self.report()["rows"][0]["released"].values():
            base, measured = times["base_cpu_s"][0], times["cpu_s"][0]
            self.assertAlmostEqual(times["s"], base + 4 * (measured - base), places=9)

    def test_a_blas_that_is_not_openblas_is_told_loudly(self):
        facts = {"cpu": "a CPU", "core_type": "HASWELL", "torch": "1", "blas": "MKL", "blas_kernels": None}
        settings = {"block_size": 8, "steps": 4, "released_steps": None, "repeats": 1}
        text = compare_official.markdown({"machine": facts, "settings": settings, "plugin_missing": None, "rows": [],
                                          "warnings": ["this PyTorch multiplies with MKL"]})
        self.assertIn("**Warning: this PyTorch multiplies with MKL.**", text)

    def test_usage_errors(self):
        np.save(self.folder / "odd.npy", np.zeros((4, 12)))
        np.save(self.folder / "nan.npy", np.full((4, 8), np.nan))
        np.save(self.folder / "integers.npy", np.zeros((4, 8), dtype=int))
        (self.folder / "text.npy").write_text("no array")
        for text, arguments in (
            ("invalid choice: 'median'", ("--families", "median")),
            ("invalid number of at least 1 value: '0'", ("--repeats", 0)),
            ("nothing to compare", ("--families",)),
            ("--channels 20 is no multiple of --block-size 8", ("--channels", 20)),
            ("--released-steps 9 is more than --steps 8", ("--steps", 8, "--released-steps", 9)),
            ("there is no program .*absent", ("--olab", self.folder / "absent")),
            ("cannot read .*absent.npy: No such file", ("--x", self.folder / "absent.npy")),
            ("holds no plain array", ("--x", self.folder / "text.npy")),
            ("expected a .npy file with tokens x channels", ("--x", self.folder / "integers.npy")),
            ("odd.npy has 12 channels, no multiple of --block-size 8", ("--x", self.folder / "odd.npy")),
            ("nan.npy holds a NaN", ("--x", self.folder / "nan.npy")),
            ("olab run failed: olab: no luck", ("--families", "gaussian", "--tokens", 4, "--channels", 8, "--steps", 13)),
        ):
            with self.subTest(text):
                status, out, error = self.run_script(*arguments)
                self.assertEqual((status, out), (2, ""), error)
                self.assertRegex(error, text)
        self.assertFalse(self.out.exists())

    def test_a_checkout_that_is_not_the_released_code(self):
        for name, text, words in (
            ("get_rot.py", "device = 'cuda'\n", "get_rot.py of the checkout is not as in commit 62c5844"),
            ("quantize/quantizer.py", "raise RuntimeError('broken')\n", "the released code failed: RuntimeError: broken"),
            ("utils.py", None, "has no utils.py; CHECKOUT is the folder of the released repository"),
        ):
            with self.subTest(words):
                kept = (self.checkout / name).read_text()
                (self.checkout / name).write_text(text) if text else (self.checkout / name).unlink()
                status, out, error = self.run_script("--families", "gaussian", "--tokens", 4, "--channels", 8)
                (self.checkout / name).write_text(kept)
                self.assertEqual((status, out), (2, ""), error)
                self.assertIn(words, error)

    def test_without_torch_the_remedy_is_named(self):
        absent = self.folder / "no_torch"
        absent.mkdir()
        (absent / "torch.py").write_text("raise ImportError('not here')\n")
        done = subprocess.run([sys.executable, str(HERE / "compare_official.py"), str(self.checkout), "--olab",
                               str(self.olab)], capture_output=True, text=True, timeout=120,
                              env={**os.environ, "PYTHONPATH": str(absent)})
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("apt-get install python3-torch", done.stderr)

    def test_an_interrupt_is_an_exit_of_its_own(self):
        self.olab.write_text("#!/bin/sh\nkill -TERM $PPID\nsleep 2\n")
        done = subprocess.run([sys.executable, str(HERE / "compare_official.py"), str(self.checkout), "--olab",
                               str(self.olab), "--families", "gaussian", "--tokens", "4", "--channels", "8",
                               "--block-size", "8", "-o", str(self.out)], capture_output=True, text=True, timeout=120)
        self.assertEqual((done.returncode, done.stdout), (130, ""), done.stderr)
        self.assertFalse(self.out.exists())

    @unittest.skipUnless(os.environ.get("OLAB_BIN"), "OLAB_BIN names no olab program")
    def test_olab_finds_the_same_and_a_difference_is_seen(self):
        olab = Path(os.environ["OLAB_BIN"]).resolve()
        arguments = ("--families", "massive", "normal", "--tokens", 64, "--channels", 32, "--steps", 12,
                     "--released-steps", 5, "--repeats", 2)
        status, out, error = self.run_script(*arguments, olab=olab)
        self.assertEqual(status, 0, error)
        self.assertEqual(out.count("| yes"), 2, out)
        other = QUANTIZER.replace("found.append(flat // self.b)", "found.append(flat % self.b)")
        (self.checkout / "quantize/quantizer.py").write_text(other)
        status, out, error = self.run_script(*arguments, olab=olab)
        self.assertEqual(status, 1, error)
        self.assertIn("| no: rotation 1, step ", out)


if __name__ == "__main__":
    unittest.main()
