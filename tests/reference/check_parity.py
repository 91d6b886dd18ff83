"""Compares the program with the PyTorch reference on tiny models: logits, loss, R, statistics, every gradient tensor.

    check_parity.py --dumper BUILD/tests/reference/parity_dump [--launcher "mpirun -n 4"] [--data 2] [--tensor 2]
                    [--sequence-parallel] [--zero1] [--recompute block] [--case NAME ...] [--verbose]

For each case it writes a folder with
    config.cfg    the case as the program's config file
    input.h5      /weights/<Hugging Face name> float32;  /tokens (updates, B, S + 1) int32
                  /first (B, S) int32 where the case masks documents
runs the dumper once on all folders, and reads in each
    output.h5     /update_k/{loss, jreg, displacement, jump_rate, angle, relative_update, cosine_std, hidden_norm,
                  histogram, logits, gradients/<Hugging Face name>}
                  /optimized/{gradient_norm, weights/<Hugging Face name>}
Weights stay the same over the two updates; the gates of the first switch the jump penalty of the second. Then some
AdamW steps are made with the gradient of the second (clipped, and divided by the number of the step, so that the
moments matter), which torch.optim.AdamW repeats. Measure is |ours - reference| / |reference| in the 2-norm, per
tensor. Exit code 1 when one is above the limit.
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
    first = torch.tensor(case.first()) if case.documents else None
    updates = []
    for step in range(UPDATES):
        update = reference.update_gradients(weights, tokens[step], case.model, case.jreg, step, gates, first)
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
        if case.documents:
            file["first"] = numpy.array(case.first(), dtype=numpy.int32)


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


def compare_update(group, update):
    """Rows (quantity, distance) of one update."""
    rows = [("loss", distance(group["loss"][0], update.forward.cross_entropy.item())),
            ("jreg", distance(group["jreg"][0], update.jreg.item()))]
    for name in STATISTICS:
        ours, wanted = group[name][()], getattr(update.statistics, name).numpy()
        if name == "jump_rate":
            rows.append(("jump_rate of layer 1 is NaN", 0.0 if numpy.isnan(ours[0]) else numpy.inf))
            ours, wanted = ours[1:], wanted[1:]
        rows.append((name, distance(ours, wanted)))
    rows.append(("histogram", distance(group["histogram"][()], update.statistics.histogram.numpy())))
    rows.append(("logits", distance(group["logits"][()], update.forward.logits.detach().flatten(0, 1).numpy())))
    if set(group["gradients"]) != set(update.gradients):
        rows.append(("names of gradients", numpy.inf))
        return rows
    for name, wanted in update.gradients.items():
        rows.append((name, distance(group["gradients"][name][()], wanted.numpy())))
    return rows


def compare_optimizer(file, case, weights):
    """The steps that torch.optim.AdamW makes in float64 with the program's own last gradient."""
    optim, group = case.optim, file["optimized"]
    parameters = {name: torch.nn.Parameter(value.clone()) for name, value in weights.items()}
    for name, parameter in parameters.items():
        parameter.grad = torch.from_numpy(file[f"update_{UPDATES - 1}/gradients"][name][()])
    norm = torch.nn.utils.clip_grad_norm_(parameters.values(), optim.clip)
    matrices = [value for value in parameters.values() if value.ndim == 2]
    gains = [value for value in parameters.values() if value.ndim == 1]
    adamw = torch.optim.AdamW([{"params": matrices, "weight_decay": optim.weight_decay},
                               {"params": gains, "weight_decay": 0.0}],
                              betas=(optim.beta1, optim.beta2), eps=optim.eps)
    clipped = {name: parameter.grad.clone() for name, parameter in parameters.items()}
    for step, rate in enumerate(optim.rates()):
        for one in adamw.param_groups:
            one["lr"] = rate
        for name, parameter in parameters.items():
            parameter.grad = clipped[name] / (step + 1)
        adamw.step()
    rows = [("gradient norm", distance(group["gradient_norm"][0], norm.item()))]
    for name, start in weights.items():
        change = group["weights"][name][()] - start.numpy()
        rows.append(("change of " + name, distance(change, (parameters[name].detach() - start).numpy())))
    return rows


def check_case(case, folder, result, verbose):
    """Prints the case's line and what is above the limit; returns whether all is well."""
    weights, updates = result
    rows = []  # (where, quantity, distance)
    with h5py.File(folder / "output.h5") as file:
        for step, update in enumerate(updates):
            rows += [(f"update {step}", *row) for row in compare_update(file[f"update_{step}"], update)]
        rows += [("optimizer", *row) for row in compare_optimizer(file, case, weights)]
    good = all(value <= LIMIT for _, _, value in rows)

    def worst(belongs):
        return max((value, f"{where} {name}") for where, name, value in rows if belongs(name))

    columns = [worst(lambda name: name == column)[0]
               for column in ("logits", "loss", "jreg", "displacement", "jump_rate")]
    columns += [worst(lambda name: name.startswith(start))[0] for start in (("model.", "lm_head."), "change of")]
    print(f"{'ok' if good else 'FAIL':5}{case.name:26}" + "".join(f"{value:9.1e}" for value in columns)
          + f"  worst of {len(rows)}: {worst(lambda name: True)[1]}")
    for where, name, value in rows:
        if verbose or not value <= LIMIT:
            print(f"    {where} {name}: {value:.2e}")
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dumper", required=True)
    parser.add_argument("--launcher", default="", help="what starts the dumper's ranks")
    parser.add_argument("--data", type=int, default=1)
    parser.add_argument("--tensor", type=int, default=1)
    parser.add_argument("--sequence-parallel", action="store_true")
    parser.add_argument("--zero1", action="store_true")
    parser.add_argument("--recompute", default="none", help="train.recompute")
    parser.add_argument("--backend", default="cpu", help="run.backend; exit code 77 where this machine has no GPU")
    parser.add_argument("--collective", default="nccl", help="run.collective")
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
            results.append((weights, updates))
        command = shlex.split(options.launcher) + [
            options.dumper, *map(str, folders), "--mesh.tensor", str(options.tensor),
            "--mesh.sequence_parallel", str(options.sequence_parallel).lower(),
            "--mesh.zero1", str(options.zero1).lower(), "--train.recompute", options.recompute,
            "--run.backend", options.backend, "--run.collective", options.collective, "--run.precision", "fp32"]
        code = subprocess.run(command).returncode
        if code == 2 and options.backend == "cuda":
            sys.exit(77)
        if code != 0:
            sys.exit("failed: " + shlex.join(command))
        print(f"{options.backend}, mesh {options.data}x{options.tensor}{' sequence parallel' * options.sequence_parallel}"
              f"{' zero1' * options.zero1}, recompute {options.recompute}: |ours - reference| / |reference|, limit {LIMIT:.0e}")
        titles = ("logits", "loss", "R", "Psi", "zeta", "gradient", "AdamW")
        print(f"{'':5}{'case':26}" + "".join(f"{title:>9}" for title in titles))
        passed = [check_case(*case, options.verbose) for case in zip(cases, folders, results)]
    print(f"{sum(passed)} of {len(passed)} cases agree")
    sys.exit(0 if all(passed) else 1)


if __name__ == "__main__":
    main()
