"""Compares the program with the PyTorch reference on tiny models: logits, loss, R, statistics, every gradient tensor.

    check_parity.py --dumper BUILD/tests/reference/parity_dump [--launcher "mpirun -n 4"] [--data 2] [--tensor 2]
                    [--sequence-parallel] [--case NAME ...] [--verbose]

For each case it writes a folder with
    config.cfg    the case as the program's config file
    input.h5      /weights/<Hugging Face name> float32;  /tokens (updates, B, S + 1) int32
runs the dumper once on all folders, and reads in each
    output.h5     /update_k/{loss, jreg, displacement, jump_rate, angle, relative_update, cosine_std, hidden_norm,
                  histogram, logits, gradients/<Hugging Face name>};  logits only where one rank holds them whole
Weights stay the same over the two updates; the gates of the first switch the jump penalty of the second. Measure is
|ours - reference| / |reference| in the 2-norm, per tensor. Exit code 1 when one is above its limit.
"""

import argparse
import pathlib
import shlex
import subprocess
import sys
import tempfile

import h5py
import numpy
import torch

import llama_reference as reference
from parity_cases import CASES

UPDATES = 2
LIMIT = 1e-5
STATISTICS = ("displacement", "jump_rate", "angle", "relative_update", "cosine_std", "hidden_norm")


def reference_of(case):
    """Weights, tokens and the reference's updates of a case."""
    generator = torch.Generator().manual_seed(case.seed)
    weights = reference.random_weights(case.model, generator, case.growth)
    tokens = torch.randint(0, case.model.vocab, (UPDATES, case.batch, case.sequence + 1), generator=generator)
    gates = torch.zeros(case.model.layers, dtype=torch.float64)
    updates = []
    for step in range(UPDATES):
        update = reference.update_gradients(weights, tokens[step], case.model, case.jreg, step, gates)
        updates.append(update)
        gates = update.gates
    return weights, tokens, updates


def expect_visible(case, updates):
    """A case must notice a wrong penalty: its part is large in most gradients and no gate hangs on rounding."""
    for step, update in enumerate(updates):
        steps = update.statistics.displacement.diff()
        assert case.jreg.penalty != "jump" or steps.abs().min() > 1e-4, f"{case.name}: a gate hangs on rounding"
        if case.jreg.strength == 0 or (case.jreg.penalty == "jump" and step == 0):
            continue
        assert update.jreg > 1e-3, f"{case.name}: R is too small to compare"
        share = {name: ((total - update.cross_entropy_gradients[name]).norm() / total.norm()).item()
                 for name, total in update.gradients.items()}
        visible = sum(value > 0.01 for value in share.values())
        assert visible * 2 > len(share), f"{case.name}: the penalty is hardly visible in the gradients: {share}"


def write_case(case, folder, weights, tokens):
    folder.mkdir()
    (folder / "config.cfg").write_text(case.config())
    with h5py.File(folder / "input.h5", "w") as file:
        for name, value in weights.items():
            file["weights/" + name] = value.numpy().astype(numpy.float32)
        file["tokens"] = tokens.numpy().astype(numpy.int32)


def distance(ours, wanted):
    """|ours - wanted| / |wanted|; where the reference is exactly zero, ours must be as well."""
    ours, wanted = numpy.asarray(ours, dtype=numpy.float64), numpy.asarray(wanted, dtype=numpy.float64)
    if ours.shape != wanted.shape:
        return numpy.inf
    scale = numpy.linalg.norm(wanted)
    difference = numpy.linalg.norm(ours - wanted)
    if not numpy.isfinite(difference):
        return numpy.inf
    return difference / scale if scale > 0 else (0.0 if difference == 0 else numpy.inf)


def compare_update(group, update, whole_logits):
    """Rows (quantity, distance) of one update."""
    rows = [("loss", distance(group["loss"][()], update.forward.cross_entropy.item())),
            ("jreg", distance(group["jreg"][()], update.jreg.item()))]
    for name in STATISTICS:
        ours, wanted = group[name][()], getattr(update.statistics, name).numpy()
        if name == "jump_rate":
            rows.append(("jump_rate of layer 1 is NaN", 0.0 if numpy.isnan(ours[0]) else numpy.inf))
            ours, wanted = ours[1:], wanted[1:]
        rows.append((name, distance(ours, wanted)))
    rows.append(("histogram", distance(group["histogram"][()], update.statistics.histogram.numpy())))
    if whole_logits:
        logits = update.forward.logits.detach().flatten(0, 1).numpy()
        rows.append(("logits", distance(group["logits"][()], logits)))
    if set(group["gradients"]) != set(update.gradients):
        rows.append(("names of gradients", numpy.inf))
        return rows
    for name, wanted in update.gradients.items():
        rows.append((name, distance(group["gradients"][name][()], wanted.numpy())))
    return rows


def check_case(case, folder, updates, options):
    """Prints the case's line and what is above the limit; returns whether all is well."""
    failures, worst = [], ("", 0.0)
    quantities = 0
    figures = {}
    with h5py.File(folder / "output.h5") as file:
        for step, update in enumerate(updates):
            whole = options.tensor == 1 and options.data == 1
            for name, value in compare_update(file[f"update_{step}"], update, whole):
                quantities += 1
                figures[name] = max(value, figures.get(name, 0.0))
                label = f"update {step} {name}"
                if value > worst[1]:
                    worst = (label, value)
                if not value <= LIMIT:
                    failures.append(f"    {label}: {value:.2e}")
                elif options.verbose:
                    print(f"    {label}: {value:.2e}")
    columns = [figures.get(name, float("nan")) for name in ("logits", "loss", "jreg", "displacement", "jump_rate")]
    gradient = max(value for name, value in figures.items() if name.endswith(".weight"))
    print(f"{'FAIL' if failures else 'ok':5}{case.name:28}" + "".join(f"{value:10.1e}" for value in columns)
          + f"{gradient:10.1e}   worst of {quantities}: {worst[0]}")
    for failure in failures:
        print(failure)
    return not failures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dumper", required=True)
    parser.add_argument("--launcher", default="", help="what starts the dumper's ranks")
    parser.add_argument("--data", type=int, default=1)
    parser.add_argument("--tensor", type=int, default=1)
    parser.add_argument("--sequence-parallel", action="store_true")
    parser.add_argument("--case", nargs="*", default=[])
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)

    cases = [case for case in CASES if case.fits(options.data, options.tensor, options.sequence_parallel)
             and (not options.case or case.name in options.case)]
    if not cases:
        sys.exit("no case fits this mesh and these names")
    with tempfile.TemporaryDirectory(prefix="jreg_parity_") as root:
        folders = [pathlib.Path(root) / case.name for case in cases]
        results = []
        for case, folder in zip(cases, folders):
            weights, tokens, updates = reference_of(case)
            expect_visible(case, updates)
            write_case(case, folder, weights, tokens)
            results.append(updates)
        command = shlex.split(options.launcher) + [
            options.dumper, *map(str, folders), "--mesh.tensor", str(options.tensor),
            "--mesh.sequence_parallel", str(options.sequence_parallel).lower()]
        if subprocess.run(command).returncode != 0:
            sys.exit("failed: " + shlex.join(command))
        print(f"mesh {options.data}x{options.tensor}{' sequence parallel' * options.sequence_parallel}: "
              f"|ours - reference| / |reference|, limit {LIMIT:.0e}")
        print(f"{'':5}{'case':28}{'logits':>10}{'loss':>10}{'R':>10}{'Psi':>10}{'zeta':>10}{'gradients':>10}")
        passed = [check_case(*case, options) for case in zip(cases, folders, results)]
    print(f"{sum(passed)} of {len(passed)} cases agree")
    sys.exit(0 if all(passed) else 1)


if __name__ == "__main__":
    main()
