"""What tools/bench_torch.py does differently on a GPU: the choice of attention, times from events, memory.

Module for bench_torch.py; nothing here is called on a processor.
"""
import functools
import warnings

import torch
import torch.nn.functional as F

# Each way that PyTorch computes attention in, and its switch in torch.backends.cuda.
ATTENTIONS = {"flash": "enable_flash_sdp", "efficient": "enable_mem_efficient_sdp", "cudnn": "enable_cudnn_sdp",
              "math": "enable_math_sdp"}
PRODUCT = 8192  # rows and columns of the matrix product that tells what this GPU does at most


def is_there():
    return torch.cuda.is_available()


def allow(wanted):
    """Of the attentions this one alone; raises AttributeError where this PyTorch does not know it."""
    getattr(torch.backends.cuda, ATTENTIONS[wanted])
    for name, switch in ATTENTIONS.items():
        if hasattr(torch.backends.cuda, switch):
            getattr(torch.backends.cuda, switch)(name == wanted)


def grouped(query, key, value):
    """Attention that reads the heads of keys and values as often as they are shared."""
    return F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)


def repeated(query, key, value):
    """Attention on keys and values that are repeated first."""
    group = query.shape[1] // key.shape[1]
    if group > 1:
        key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
    return F.scaled_dot_product_attention(query, key, value, is_causal=True)


class Clock:
    """Times on the GPU's own stream; the host runs ahead and waits for nothing until they are asked for."""

    def __init__(self):
        self.marks = []

    def mark(self):
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        self.marks.append(event)

    def seconds(self):
        """Between each mark and the next."""
        torch.cuda.synchronize()
        return [a.elapsed_time(b) / 1e3 for a, b in zip(self.marks, self.marks[1:])]


def seconds_of(work, repeats):
    """The least of some calls, after three that are not timed."""
    for _ in range(3):
        work()
    clock = Clock()
    for _ in range(repeats):
        clock.mark()
        work()
    clock.mark()
    return min(clock.seconds())


def time_attention(name, attend, shape, batch, dtype, device):
    """Seconds of forward and backward at the model's shape, in the model's layout; None where it cannot."""
    heads = shape.heads + 2 * shape.kv_heads
    qkv = torch.randn(batch, shape.sequence, heads, shape.head_size, dtype=dtype, device=device, requires_grad=True)
    gradient = torch.randn(batch, shape.heads, shape.sequence, shape.head_size, dtype=dtype, device=device)

    def work():
        parts = qkv.transpose(1, 2).split((shape.heads, shape.kv_heads, shape.kv_heads), 1)
        qkv.grad = None
        attend(*parts).backward(gradient)

    try:
        allow(name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # why it cannot
            return seconds_of(work, 10)
    except (RuntimeError, TypeError, AttributeError):  # no such kernel for this shape, type, card or PyTorch; no memory
        return None


def choose_attention(shape, batch, dtype, wanted=None, device="cuda"):
    """Times every attention, or the wanted one, and switches the fastest on. (function, lines for the report)"""
    found = {}
    for name in [wanted] if wanted else ATTENTIONS:
        for attend in (repeated,) if shape.heads == shape.kv_heads else (grouped, repeated):
            seconds = time_attention(name, attend, shape, batch, dtype, device)
            if seconds is not None:
                found[seconds, name, attend.__name__] = attend
            torch.cuda.empty_cache()
    if not found:
        raise SystemExit(f"bench_torch.py: no attention of {', '.join([wanted] if wanted else ATTENTIONS)} works here")
    # Causal: half of the products. Forward 2 of them, backward 5.
    flop = 7 * batch * shape.heads * shape.sequence**2 * shape.head_size
    lines = [f"attention {name + ', heads ' + way:<28}{seconds * 1e3:>10.3f} ms forward and backward of a layer, "
             f"{flop / seconds / 1e12:.0f} TFLOP/s" for seconds, name, way in sorted(found)]
    best = min(found)
    allow(best[1])
    return found[best], [*lines, f"taken: {best[1]}, heads {best[2]}"]


def matrix_product_rate(dtype, device="cuda"):
    """FLOP/s of a large product of random numbers, now."""
    x, w = (torch.randn(PRODUCT, PRODUCT, dtype=dtype, device=device) for _ in range(2))
    return 2 * PRODUCT**3 / seconds_of(lambda: torch.mm(x, w.T), 10)


def compile_parts(model):
    """Blocks, which are compiled once for all, and what follows them."""
    for block in model.blocks:
        block.forward = torch.compile(block.forward)
    model.loss = torch.compile(model.loss)


def peak_bytes(work):
    """The most that tensors hold during a call, with what is there before."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    work()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()


def measure(trainer, steps):
    """({kind: seconds}, FLOP/s of products, what memory was taken) of bench_torch.py's Trainer; kinds take turns."""
    for displacement in [*trainer.kinds.values()] * 2:  # what is compiled is compiled here
        trainer.update(displacement)
    peaks = {kind: peak_bytes(functools.partial(trainer.update, displacement)) / 1e6
             for kind, displacement in trainer.kinds.items()}
    clock = Clock()
    clock.mark()
    for _ in range(steps):
        for displacement in trainer.kinds.values():
            trainer.update(displacement)
            clock.mark()
    times = clock.seconds()
    seconds = {kind: times[i::len(peaks)] for i, kind in enumerate(trainer.kinds)}
    rate = matrix_product_rate(torch.bfloat16 if trainer.bf16 else torch.float32, trainer.device)
    more = ", ".join(f"{kind} {peak:.1f} MB" for kind, peak in peaks.items() if kind != "plain")
    return seconds, rate, f"tensors {peaks['plain']:.1f} MB at most ({more})"


def description():
    properties = torch.cuda.get_device_properties(0)
    return f"{properties.name}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
