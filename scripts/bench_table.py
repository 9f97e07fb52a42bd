#!/usr/bin/env python3
"""Makes Markdown tables of ratios out of Google Benchmark's JSON.

    scripts/bench_table.py [--goals GOALS.csv] [--page PAGE.md] ROUND.json...

Each file is one round of the same benchmarks. A benchmark called FAMILY/CASE/ours is compared with every other of the
same name but for the word `ours`; arguments may follow it (product/ours/k:1024), and FAMILY/CASE/ours_VARIANT is one
more of ours. What has no partner is listed with
its own figures. Times are medians over the rounds of the CPU time of one thread, or of the wall time where the name
ends with /real_time; a ratio is baseline / ours, and in brackets are the smallest and the largest of a round.

GOALS.csv has the columns benchmark, baseline, goal and source: FAMILY/CASE (or FAMILY/CASE/ours_VARIANT), with * and ?
as in file names, must reach the ratio `goal` against the baseline in every case that fits. With --page, the parts of PAGE between the lines
<!-- bench: goals --> or <!-- bench: figures --> and <!-- bench: end --> are replaced; otherwise they are printed.

Exit code 1 where a benchmark reported an error or goals were malformed, 0 where goals are merely missed.
"""
import argparse
import csv
import fnmatch
import json
import pathlib
import re
import statistics
import sys

OURS = re.compile(r"^ours(_(?P<variant>.+))?$")
SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}
# What Google Benchmark adds to a name by itself. real_time is looked at before it goes.
ADDED = re.compile(r"^(real_time|process_time|manual_time|(iterations|repeats|min_time|min_warmup_time):.*)$")


class Complaint(Exception):
    """What the caller can put right."""


class Series:
    """One benchmark over all rounds."""

    def __init__(self):
        self.seconds = []   # (round, seconds)
        self.errors = []
        self.rates = {}     # counter -> values
        self.wall = False
        self.label = ""     # what the benchmark says of itself

    def median(self):
        return statistics.median(s for _, s in self.seconds)


def name_parts(name):
    parts = name.split("/")
    return tuple(p for p in parts if not ADDED.match(p)), any(p in ("real_time", "manual_time") for p in parts)


def read_rounds(files):
    """{name parts: Series} in order of first appearance, and the context of the first round."""
    found, context = {}, {}
    for number, file in enumerate(files):
        try:
            data = json.loads(pathlib.Path(file).read_text(encoding="utf-8"))
            benchmarks = data["benchmarks"]
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise Complaint(f"{file}: this is not what --benchmark_out writes ({e})") from e
        context = context or dict(data.get("context", {}))
        context.setdefault("dates", []).append(data.get("context", {}).get("date", ""))
        for b in benchmarks:
            if b.get("run_type", "iteration") != "iteration":
                continue
            parts, wall = name_parts(b["name"])
            series = found.setdefault(parts, Series())
            series.wall = series.wall or wall
            series.label = series.label or b.get("label", "")
            if b.get("error_occurred") or b.get("skipped"):
                series.errors.append(b.get("error_message") or b.get("skip_message") or "it said nothing")
                continue
            time = b["real_time" if wall else "cpu_time"] * SECONDS[b.get("time_unit", "ns")]
            series.seconds.append((number, time))
            for counter in ("bytes_per_second", "items_per_second", "multiply_adds"):
                if counter in b:
                    series.rates.setdefault(counter, []).append(b[counter])
    if not found:
        raise Complaint("no benchmark was run; does the filter fit none of them?")
    return found, context


class Pair:
    """Ours against one baseline. `case` is what is left of the name without family and who."""

    def __init__(self, family, case, who, baseline, ours, theirs):
        self.family, self.case, self.who, self.baseline = family, case, who, baseline
        self.ours, self.theirs = ours, theirs
        self.failed = bool(ours.errors or theirs.errors or not ours.seconds or not theirs.seconds)
        if self.failed:
            return
        self.ratio = theirs.median() / ours.median() if ours.median() > 0 else float("inf")
        mine, other = dict(ours.seconds), dict(theirs.seconds)
        rounds = [other[r] / mine[r] for r in mine if r in other and mine[r] > 0] or [self.ratio]
        self.low, self.high = min(rounds), max(rounds)

    def fits(self, goal):
        """Whether a goal's name is meant for this; a variant of ours must be named."""
        name = "/".join(part for part in (self.family, self.case) if part)
        if "/ours" in goal:
            name += "/" + self.who
        elif self.who != "ours":
            return False
        return fnmatch.fnmatchcase(name, goal)


def make_pairs(found):
    """The pairs, and the names that are part of none."""
    pairs, paired = [], set()
    for parts, ours in found.items():
        at = next((i for i in range(1, len(parts)) if OURS.match(parts[i])), None)
        if at is None:
            continue
        for other, theirs in found.items():
            if len(other) != len(parts) or OURS.match(other[at]):
                continue
            if other[:at] == parts[:at] and other[at + 1:] == parts[at + 1:]:
                case = "/".join(parts[1:at] + parts[at + 1:])
                pairs.append(Pair(parts[0], case, parts[at], other[at], ours, theirs))
                paired |= {parts, other}
    return pairs, [parts for parts in found if parts not in paired]


def show_ratio(value):
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 100 or value < 1 else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def show_time(series):
    """"1.23 ms (1.20–1.31)", both in the unit that fits the median; "wall" where it is no CPU time."""
    if series.errors or not series.seconds:
        return "**failed**"
    middle = series.median()
    unit, scale = next(((u, s) for u, s in (("s", 1), ("ms", 1e-3), ("µs", 1e-6)) if middle >= s), ("ns", 1e-9))
    times = [s / scale for _, s in series.seconds]
    number = lambda v: f"{v:.3g}" if v < 100 else f"{v:.0f}"
    spread = f" ({number(min(times))}–{number(max(times))})" if len(times) > 1 else ""
    return f"{number(middle / scale)} {unit}{spread}{' wall' if series.wall else ''}"


def with_label(name, series):
    return f"{name} ({series.label})" if series.label else name


def show_rate(series):
    out = []
    for counter, values in series.rates.items():
        word = {"bytes_per_second": "GB/s", "items_per_second": "G/s", "multiply_adds": "GMAC/s"}[counter]
        out.append(f"{statistics.median(values) / 1e9:.3g} {word}")
    return ", ".join(out)


def cell(text):
    return str(text).replace("|", "\\|").replace("\n", " ")


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "|".join(" --- " for _ in header) + "|"]
    return lines + ["| " + " | ".join(cell(c) for c in row) + " |" for row in rows]


def show_errors(series_by_name):
    """One line for each benchmark that reported an error."""
    return [f"- `{'/'.join(parts)}`: {cell('; '.join(dict.fromkeys(s.errors)) or 'no round has it')}"
            for parts, s in series_by_name if s.errors or not s.seconds]


def machine_lines(context, rounds):
    caches = ", ".join(f"L{c['level']}{'' if c['type'] == 'Unified' else c['type'][0].lower()} "
                       f"{c['size'] // 1024} KiB" for c in context.get("caches", []))
    dates = [d for d in context.get("dates", []) if d]
    load = context.get("load_before") or " ".join(f"{v:.2f}" for v in context.get("load_avg", []))
    facts = [
        ("CPU", context.get("cpu")),
        ("logical cores", context.get("num_cpus")),
        ("caches", caches or context.get("cache_sizes")),
        ("memory", context.get("memory")),
        ("frequency governor", context.get("governor")),
        ("instruction set of our kernels", context.get("kernel_level")),
        ("kernels of OpenBLAS", context.get("openblas")),
        ("OPENBLAS_CORETYPE", context.get("openblas_coretype")),
        ("compiler", context.get("compiler")),
        ("flags", context.get("flags")),
        ("commit", context.get("commit")),
        ("rounds", rounds),
        ("date", f"{dates[0]} to {dates[-1]}" if len(dates) > 1 else "".join(dates)),
        ("load (1, 5, 15 minutes) before the start", load),
    ]
    return table(["machine", ""], [(k, "not known" if v in (None, "") else v) for k, v in facts])


def figures(found, pairs, single, context, rounds):
    lines = ["### Machine", ""] + machine_lines(context, rounds)
    failed = show_errors(found.items())
    if failed:
        lines += ["", "### Failed", ""] + failed
    families = list(dict.fromkeys([p.family for p in pairs] + [parts[0] for parts in single]))
    for family in sorted(families):
        lines += ["", f"### {family}", ""]
        rows = [(p.case or "–", with_label(p.baseline, p.theirs), show_time(p.theirs),
                 ("" if p.who == "ours" else p.who[len("ours_"):] + ": ") + show_time(p.ours), "**failed**" if p.failed
                 else f"**{show_ratio(p.ratio)}** ({show_ratio(p.low)}–{show_ratio(p.high)})")
                for p in sorted(pairs, key=lambda p: (natural(p.case), p.baseline, p.who)) if p.family == family]
        if rows:
            lines += table(["case", "baseline", "baseline's time", "ours", "baseline / ours"], rows)
        alone = sorted((parts for parts in single if parts[0] == family), key=lambda p: natural("/".join(p)))
        if alone:
            lines += [""] if rows else []
            lines += table(["no partner", "time", "rate"],
                           [(with_label("/".join(parts[1:]) or "–", found[parts]), show_time(found[parts]), show_rate(found[parts]))
                            for parts in alone])
    return lines


def natural(text):
    return [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in re.split(r"(\d+)", text) if p]


def read_goals(file):
    goals = []
    with open(file, encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(line for line in stream if not line.startswith("#"))
        for row in reader:
            try:
                goals.append((row["benchmark"], row["baseline"], float(row["goal"]), row["source"]))
                if None in row or not goals[-1][2] > 0:
                    raise ValueError
            except (KeyError, TypeError, ValueError) as e:
                raise Complaint(f"{file}: {dict(row)}: expected benchmark,baseline,goal,source with a goal above 0; "
                                "quote texts that hold a comma") from e
    return goals


def goal_rows(goals, pairs):
    """Rows for the page, and how many are reached."""
    rows, reached = [], 0
    for name, baseline, goal, source in goals:
        fitting = [p for p in pairs if p.baseline == baseline and p.fits(name)]
        if not fitting:
            measured, verdict = "–", "not measured"
        elif any(p.failed for p in fitting):
            measured, verdict = "–", "**failed**"
        else:
            worst = min(fitting, key=lambda p: p.ratio)
            measured = f"{show_ratio(worst.ratio)} ({show_ratio(worst.low)}–{show_ratio(worst.high)})"
            if len(fitting) > 1:
                measured += f", the least of {len(fitting)}: {worst.family}/{worst.case}"
            verdict = "reached" if worst.ratio >= goal else "**not reached**"
            reached += worst.ratio >= goal
        rows.append((f"`{name}`", baseline, f"≥ {goal:g}", measured, verdict, source))
    return rows, reached


def replace_part(text, part, lines, file):
    begin, end = f"<!-- bench: {part} -->", "<!-- bench: end -->"
    pattern = re.compile(re.escape(begin) + r"\n.*?" + re.escape(end), re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise Complaint(f"{file}: expected once the line {begin}, and {end} after it")
    return pattern.sub(lambda _: "\n".join([begin, "", *lines, "", end]), text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--goals")
    parser.add_argument("--page")
    parser.add_argument("rounds", nargs="+")
    options = parser.parse_args()
    found, context = read_rounds(options.rounds)
    pairs, single = make_pairs(found)
    goals = read_goals(options.goals) if options.goals else []
    rows, reached = goal_rows(goals, pairs)
    goal_lines = table(["benchmark", "baseline", "goal", "measured", "", "source"], rows)
    figure_lines = figures(found, pairs, single, context, len(options.rounds))
    if options.page:
        page = pathlib.Path(options.page)
        text = page.read_text(encoding="utf-8")
        text = replace_part(text, "goals", goal_lines, page)
        text = replace_part(text, "figures", figure_lines, page)
        page.write_text(text, encoding="utf-8")
    else:
        print("\n".join((goal_lines + [""] if goals else []) + figure_lines))
    measured = sum(r[4] != "not measured" for r in rows)
    where = f"; the tables are in {options.page}" if options.page else ""
    print(f"{len(pairs)} ratios, {reached} of {len(goals)} goals reached ({measured} measured){where}",
          file=sys.stdout if options.page else sys.stderr)
    failed = show_errors(found.items())
    if failed:
        print("benchmarks failed:", *failed, sep="\n", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Complaint, OSError) as complaint:
        print(f"bench_table.py: {complaint}", file=sys.stderr)
        sys.exit(1)
