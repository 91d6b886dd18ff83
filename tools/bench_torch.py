#!/usr/bin/env python3
"""Times training updates of the same Llama in PyTorch, tuned as well as PyTorch goes on this machine, without and with
JREG in turn: the peer that `jreg train --benchmark` is compared with (tools/bench_compare.sh).

    tools/bench_torch.py --shape A|B|170m|1b|tiny [--precision fp32|bf16] [--threads N] [--steps N] [--compile]
    tools/bench_torch.py --shape 170m|1b --device cuda [--micro-batch N] [--attention flash|efficient|cudnn|math]

Shapes: A = hidden 256, 8 layers, ffn 688; B = hidden 512, 12 layers, ffn 1376; both 8/4 heads, vocabulary 8192,
8 sequences of 256. 170m = hidden 768, 12 layers, 12/12 heads, ffn 3072; 1b (1.1 B parameters) = hidden 2048, 22 layers,
32/4 heads, ffn 5632; both vocabulary 32000, 8 sequences of 2048. The same work as an update of ours: forward, cross entropy, backward, clipping, AdamW with decay on
matrices. Three kinds: plain; jreg naive, the penalty written with cosine_similarity; jreg function, one autograd
function with the exact gradient. Works from PyTorch 1.13 on; takes scaled_dot_product_attention, rms_norm and fused
AdamW where it has them. bf16 is autocast over fp32 weights.

On a GPU (PyTorch 2.5 or later; bf16 by default): blocks, head and penalties through torch.compile, activations and the
residual stream in bf16 over fp32 weights, the attention that is fastest at this shape of all that PyTorch has there
(each is timed first, with grouped heads as they are and repeated), fused AdamW. Updates are timed with events on the
GPU while the host runs ahead; memory is the most that tensors held.

Before PyTorch is loaded the environment is set to what makes it fast, unless it sets the same variables itself:
AVX-512 in OpenBLAS and ATen, OpenBLAS on OpenMP's threads where Debian's libopenblas0-openmp is installed (the plain
libblas3 is many times slower; tools/install_packages.sh benchmark), and memory that is kept rather than given back
after every update.
"""
import argparse
import glob
import math
import os
import statistics
import sys
import time
from dataclasses import dataclass

TUNED = "JREG_BENCH_TUNED"
OPENBLAS = "/usr/lib/*/openblas-openmp"


def tuned_environment(environment, threads):
    """Variables that make PyTorch fast and are read when its libraries are loaded."""
    with open("/proc/cpuinfo") as info:
        avx512 = "avx512f" in info.read()
    wanted = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=1099511627776"}
    if avx512:
        wanted.update(OPENBLAS_CORETYPE="SkylakeX", ATEN_CPU_CAPABILITY="avx512")
    if folders := glob.glob(OPENBLAS):
        wanted["LD_LIBRARY_PATH"] = folders[0]
    kept = {name: value for name, value in environment.items() if name in wanted}
    if avx512 and kept.get("OPENBLAS_CORETYPE") == "Haswell":
        del kept["OPENBLAS_CORETYPE"]  # exported for older machines' sake; half the speed of this one
    return {**wanted, **kept, "OMP_NUM_THREADS": str(threads)}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, required=True)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), help="fp32 on the cpu, bf16 on cuda")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--steps", type=int, default=10, help="updates of each kind that are timed, after two that are not")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction,
                        help="torch.compile the model; on cuda, the default there, each block, the head, the penalties")
    parser.add_argument("--attention", choices=ATTENTIONS, help="on cuda: this one, rather than the fastest")
    parser.add_argument("--micro-batch", type=int, default=0, help="sequences at a time; 0: all")
    options = parser.parse_args()
    on_gpu = options.device == "cuda"
    options.precision = options.precision or ("bf16" if on_gpu else "fp32")
    options.compile = on_gpu if options.compile is None else options.compile
    return options


@dataclass(frozen=True)
class Shape:
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    ffn: int
    vocab: int
    sequence: int
    batch: int
    tie_embeddings: bool = False
    rope_theta: float = 10000.0
    norm_eps: float = 1e-5

    def model_flop(self):
        """As jreg counts an update: 6 T (matrices with head) + 6 T L H S."""
        tokens = self.batch * self.sequence
        block = self.hidden * self.head_size * (2 * self.heads + 2 * self.kv_heads) + 3 * self.hidden * self.ffn
        return 6 * tokens * (self.layers * block + self.vocab * self.hidden + self.layers * self.hidden * self.sequence)


SHAPES = {
    "A": Shape(8, 256, 8, 4, 32, 688, 8192, 256, 8),
    "B": Shape(12, 512, 8, 4, 64, 1376, 8192, 256, 8),
    "170m": Shape(12, 768, 12, 12, 64, 3072, 32000, 2048, 8),
    "1b": Shape(22, 2048, 32, 4, 64, 5632, 32000, 2048, 8),
    "tiny": Shape(3, 32, 4, 2, 8, 48, 96, 16, 4),
}
ATTENTIONS = ("flash", "efficient", "cudnn", "math")  # those of bench_gpu, which needs PyTorch

if __name__ == "__main__":
    OPTIONS = parse_arguments()
    if OPTIONS.device == "cuda":
        os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    elif os.environ.get(TUNED) is None:
        os.execve(sys.executable, [sys.executable, *sys.argv],
                  {**os.environ, **tuned_environment(os.environ, OPTIONS.threads), TUNED: "1"})

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

import bench_gpu  # noqa: E402


def memory(entry):
    """VmRSS or VmHWM of this process in bytes."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(entry + ":"))


BYTES_AT_IMPORT = memory("VmRSS")
HAS_ATTENTION = hasattr(F, "scaled_dot_product_attention")
TINY_NORM = 1e-12


def linear(x, matrix):
    """x matrix^T; on a GPU in the type of x, elsewhere in the one that autocast takes."""
    return F.linear(x, matrix.to(x.dtype) if x.is_cuda else matrix)


def rms_norm(x, gain, eps):
    if hasattr(F, "rms_norm"):
        return F.rms_norm(x, (x.shape[-1],), gain.to(x.dtype), eps)
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * gain


def causal_attention(query, key, value):
    """query (B, heads, S, d), key and value (B, kv_heads, S, d) -> (B, heads, S, d)."""
    batch, heads, sequence, size = query.shape
    group = heads // key.shape[1]
    if HAS_ATTENTION:
        key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
        return F.scaled_dot_product_attention(query, key, value, is_causal=True)
    # The query heads of a key/value head are rows of one product: nothing is repeated.
    rows = query.reshape(batch * heads // group, group * sequence, size)
    key, value = (x.reshape(batch * heads // group, sequence, size) for x in (key, value))
    mask = torch.full((sequence, sequence), -math.inf, dtype=query.dtype).triu(1).repeat(group, 1)
    scores = torch.baddbmm(mask, rows, key.transpose(1, 2), alpha=1 / math.sqrt(size))
    return torch.bmm(scores.softmax(-1).to(value.dtype), value).view(batch, heads, sequence, size)


class Block(torch.nn.Module):
    def __init__(self, shape, attend):
        super().__init__()
        self.shape, self.attend = shape, attend
        query, key = shape.heads * shape.head_size, shape.kv_heads * shape.head_size

        def matrix(rows, columns):
            return torch.nn.Parameter(torch.randn(rows, columns) * 0.02)

        self.attention_norm = torch.nn.Parameter(torch.ones(shape.hidden))
        self.qkv = matrix(query + 2 * key, shape.hidden)
        self.output = matrix(shape.hidden, query)
        self.mlp_norm = torch.nn.Parameter(torch.ones(shape.hidden))
        self.gate_up = matrix(2 * shape.ffn, shape.hidden)
        self.down = matrix(shape.hidden, shape.ffn)

    def forward(self, state, cosine, sine):
        shape = self.shape
        batch, sequence, _ = state.shape
        normed = rms_norm(state, self.attention_norm, shape.norm_eps)
        qkv = linear(normed, self.qkv).view(batch, sequence, -1, shape.head_size).transpose(1, 2)
        turned, value = qkv.split((shape.heads + shape.kv_heads, shape.kv_heads), 1)
        first, second = turned.chunk(2, -1)
        cosine, sine = cosine.to(qkv.dtype), sine.to(qkv.dtype)
        turned = torch.cat((first * cosine - second * sine, second * cosine + first * sine), -1)
        mixed = self.attend(*turned.split((shape.heads, shape.kv_heads), 1), value)
        state = state + linear(mixed.transpose(1, 2).reshape(batch, sequence, -1), self.output)
        gate, up = linear(rms_norm(state, self.mlp_norm, shape.norm_eps), self.gate_up).chunk(2, -1)
        return state + linear(F.silu(gate) * up, self.down)


class Llama(torch.nn.Module):
    """LlamaForCausalLM with query, key, value and gate, up as one matrix each; hidden states of the type `activations`."""

    def __init__(self, shape, attend=causal_attention, activations=None):
        super().__init__()
        self.shape, self.activations = shape, activations
        self.embedding = torch.nn.Parameter(torch.randn(shape.vocab, shape.hidden) * 0.02)
        self.blocks = torch.nn.ModuleList(Block(shape, attend) for _ in range(shape.layers))
        self.final_norm = torch.nn.Parameter(torch.ones(shape.hidden))
        self.head = None if shape.tie_embeddings else torch.nn.Parameter(torch.randn(shape.vocab, shape.hidden) * 0.02)
        frequency = shape.rope_theta ** (-torch.arange(0, shape.head_size, 2, dtype=torch.float64) / shape.head_size)
        angle = torch.arange(shape.sequence)[:, None] * frequency
        self.register_buffer("cosine", angle.cos().to(self.embedding.dtype))
        self.register_buffer("sine", angle.sin().to(self.embedding.dtype))

    def forward(self, tokens, targets):
        """tokens, targets (B, S) -> (mean cross entropy, hidden states h_0 .. h_L)."""
        states = [F.embedding(tokens, self.embedding).to(self.activations or self.embedding.dtype)]
        for block in self.blocks:
            states.append(block(states[-1], self.cosine, self.sine))
        return self.loss(states[-1], targets), states

    def loss(self, state, targets):
        """Mean cross entropy after the last hidden state."""
        normed = rms_norm(state, self.final_norm, self.shape.norm_eps)
        logits = linear(normed, self.embedding if self.head is None else self.head)
        return F.cross_entropy(logits.flatten(0, 1).to(self.embedding.dtype), targets.flatten())

    def parts(self):
        """[(Hugging Face's names, parameter)]: a joined matrix has several names, in the order of its rows."""
        found = [(["model.embed_tokens.weight"], self.embedding)]
        for layer, block in enumerate(self.blocks):
            names = {"attention_norm": ["input_layernorm"], "qkv": [f"self_attn.{x}_proj" for x in "qkv"],
                     "output": ["self_attn.o_proj"], "mlp_norm": ["post_attention_layernorm"],
                     "gate_up": ["mlp.gate_proj", "mlp.up_proj"], "down": ["mlp.down_proj"]}
            found += [([f"model.layers.{layer}.{name}.weight" for name in names[member]], parameter)
                      for member, parameter in block.named_parameters()]
        found.append((["model.norm.weight"], self.final_norm))
        return found if self.head is None else [*found, (["lm_head.weight"], self.head)]

    def load(self, weights):
        """Weights by Hugging Face's names."""
        with torch.no_grad():
            for names, parameter in self.parts():
                parameter.copy_(torch.cat([weights[name] for name in names]))


def wide(x):
    """bf16 would lose a small displacement."""
    return x.float() if x.dtype == torch.bfloat16 else x


def displacement_forward(start, end):
    start, end = wide(start), wide(end)
    lengths = start.norm(dim=-1, keepdim=True).clamp(min=TINY_NORM), end.norm(dim=-1, keepdim=True).clamp(min=TINY_NORM)
    cosine = (start * end).sum(-1, keepdim=True) / (lengths[0] * lengths[1])
    return (1 - cosine.mean()) / 2, cosine, *lengths


def displacement_backward(gradient, first, second, cosine, start_length, end_length):
    start, end = wide(first), wide(second)
    scale = -gradient / (2 * cosine.numel())
    across = scale / (start_length * end_length)
    return (torch.addcmul(across * end, start, scale * cosine / start_length.square(), value=-1).to(first.dtype),
            torch.addcmul(across * start, end, scale * cosine / end_length.square(), value=-1).to(first.dtype))


class Displacement(torch.autograd.Function):
    """Psi = mean over tokens of (1 - cos(h_{l-1}, h_l)) / 2 with its gradient written out."""

    calls = displacement_forward, displacement_backward

    @staticmethod
    def forward(ctx, start, end):
        value, *kept = Displacement.calls[0](start, end)
        ctx.save_for_backward(start, end, *kept)
        return value

    @staticmethod
    def backward(ctx, gradient):
        return Displacement.calls[1](gradient, *ctx.saved_tensors)


def naive_displacement(start, end):
    return (1 - F.cosine_similarity(wide(start), wide(end), dim=-1)).mean() / 2


def penalty(states, displacement):
    """sum of w_l Psi_l with w_l ~ l."""
    layers = len(states) - 1
    total = layers * (layers + 1) / 2
    return sum(layer / total * displacement(states[layer - 1], states[layer]) for layer in range(1, layers + 1))


KINDS = {"plain": None, "jreg naive": naive_displacement, "jreg function": Displacement.apply}
WARM_UP = 2  # updates of each kind


def make_adamw(model):
    """The fastest that this PyTorch has, with decay on matrices alone."""
    parameters = list(model.parameters())
    groups = [{"params": [p for p in parameters if p.ndim == 2], "weight_decay": 0.1},
              {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0}]
    common = {"lr": 6e-4, "betas": (0.9, 0.95), "eps": 1e-8}
    try:
        return torch.optim.AdamW(groups, fused=True, **common), "fused"
    except (RuntimeError, TypeError):  # fused is for GPUs alone before 2.4
        return torch.optim.AdamW(groups, foreach=True, **common), "foreach"


class Trainer:
    def __init__(self, options):
        torch.manual_seed(1)
        self.shape = SHAPES[options.shape]
        self.micro_batch = options.micro_batch or self.shape.batch
        self.bf16 = options.precision == "bf16"
        self.device = torch.device(options.device)
        self.autocast = self.bf16 and options.device == "cpu"
        self.kinds, self.notes = dict(KINDS), []
        if options.device == "cuda":
            self.prepare_gpu(options)
        else:
            self.model = Llama(self.shape)
            self.forward = torch.compile(self.model) if options.compile else self.model
        self.adamw, self.adamw_kind = make_adamw(self.model)
        self.generator = torch.Generator(self.device).manual_seed(1)

    def prepare_gpu(self, options):
        activations = torch.bfloat16 if self.bf16 else torch.float32
        attend, self.notes = bench_gpu.choose_attention(self.shape, self.micro_batch, activations, options.attention,
                                                        self.device)
        self.model = self.forward = Llama(self.shape, attend, activations).to(self.device)
        if options.compile:
            bench_gpu.compile_parts(self.model)
            self.kinds["jreg naive"] = torch.compile(naive_displacement)
            Displacement.calls = tuple(map(torch.compile, (displacement_forward, displacement_backward)))

    def update(self, displacement):
        shape = self.shape
        tokens = torch.randint(0, shape.vocab, (shape.batch, shape.sequence + 1), generator=self.generator,
                               device=self.device)
        self.adamw.zero_grad(set_to_none=True)
        for part in tokens.split(self.micro_batch):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.autocast):
                loss, states = self.forward(part[:, :-1].contiguous(), part[:, 1:].contiguous())
            if displacement is not None:
                loss = loss + 0.1 * penalty(states, displacement)
            (loss * (len(part) / shape.batch)).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.adamw.step()


def matrix_product_rate(dtype):
    """FLOP/s of a large product, now."""
    x, w = torch.ones(1024, 1024, dtype=dtype), torch.ones(1024, 1024, dtype=dtype)
    best, begin = 0.0, time.perf_counter()
    while time.perf_counter() - begin < 0.15:
        before = time.perf_counter()
        torch.mm(x, w.T)
        best = max(best, 2 * 1024**3 / (time.perf_counter() - before))
    return best


def quantile(values, share):
    return sorted(values)[round(share * (len(values) - 1))]


def print_report(trainer, seconds, rate, memory_line, options):
    shape, flop = trainer.shape, trainer.shape.model_flop()
    attention = "scaled_dot_product_attention" if HAS_ATTENTION else "products and softmax"
    where = f"{torch.get_num_threads()} threads" if options.device == "cpu" else bench_gpu.description()
    print(f"PyTorch {torch.__version__}, {where}, {options.precision}, {attention}, "
          f"{trainer.adamw_kind} AdamW{', compiled' * options.compile}")
    print(*trainer.notes, sep="\n", end="\n" * bool(trainer.notes))
    print(f"{sum(p.numel() for p in trainer.model.parameters())} parameters, {shape.batch * shape.sequence} tokens and "
          f"{flop / 1e9:.1f} model GFLOP an update, {options.steps} updates of each kind")
    print(f"matrix product rate in this run: {rate / 1e9:.1f} GFLOP/s; {memory_line}\n")
    print(f"{'':<24}{'median ms':>10}{'min ms':>10}{'10% ms':>10}{'90% ms':>10}{'tokens/s':>12}{'GFLOP/s':>11}"
          f"{'of products':>12}{'overhead':>11}")
    for kind, times in seconds.items():
        median = quantile(times, 0.5)
        overhead = statistics.median_low([a / b for a, b in zip(times, seconds["plain"])]) - 1
        print(f"{kind:<24}{median * 1e3:>10.1f}{min(times) * 1e3:>10.1f}{quantile(times, 0.1) * 1e3:>10.1f}"
              f"{quantile(times, 0.9) * 1e3:>10.1f}{shape.batch * shape.sequence / median:>12.0f}"
              f"{flop / median / 1e9:>11.1f}{100 * flop / median / rate:>11.1f}%{100 * overhead:>10.2f}%")


def measure(trainer, steps):
    """({kind: seconds}, FLOP/s of products, what memory was taken) on the processor."""
    seconds = {kind: [] for kind in trainer.kinds}
    rate, peak = 0.0, 0
    for step in range(WARM_UP + steps):
        for kind, displacement in trainer.kinds.items():
            begin = time.perf_counter()
            trainer.update(displacement)
            if step >= WARM_UP:
                seconds[kind].append(time.perf_counter() - begin)
            if step == 0 and kind == "plain":
                trainer.update(None)  # the optimizer's state is there from the first update on
                peak = memory("VmHWM")
        rate = max(rate, matrix_product_rate(torch.bfloat16 if trainer.bf16 else torch.float32))
    return seconds, rate, f"peak resident {peak / 1e6:.1f} MB, {(peak - BYTES_AT_IMPORT) / 1e6:.1f} MB above import"


def main():
    if OPTIONS.device == "cuda" and not bench_gpu.is_there():
        print(f"bench_torch.py: --device cuda: PyTorch {torch.__version__} sees no GPU here", file=sys.stderr)
        sys.exit(2)
    torch.set_num_threads(OPTIONS.threads)
    trainer = Trainer(OPTIONS)
    work = measure if OPTIONS.device == "cpu" else bench_gpu.measure
    seconds, rate, memory_line = work(trainer, OPTIONS.steps)
    print_report(trainer, seconds, rate, memory_line, OPTIONS)


if __name__ == "__main__":
    main()
