"""The tiny models on which the program must equal the PyTorch reference."""

import math
from dataclasses import dataclass, field

from llama_reference import Jreg, Model, RopeScaling


@dataclass
class Optim:
    """AdamW with decay on matrices only, clipping and warm-up + cosine."""

    learning_rate: float = 0.05
    min_learning_rate: float = 0.01
    warmup_steps: int = 2
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.1
    clip: float = 0.5
    steps: int = 5

    def rates(self):
        rising = [self.learning_rate * (step + 1) / self.warmup_steps for step in range(self.warmup_steps)]
        falls = self.steps - self.warmup_steps
        falling = [(1 + math.cos(math.pi * (step + 1) / falls)) / 2 for step in range(falls)]
        return rising + [self.min_learning_rate + (self.learning_rate - self.min_learning_rate) * height
                         for height in falling]


@dataclass
class Case:
    name: str
    model: Model = field(default_factory=Model)
    jreg: Jreg = field(default_factory=Jreg)
    optim: Optim = field(default_factory=Optim)
    sequence: int = 7
    batch: int = 3
    micro_batch: int = 0
    seed: int = 1
    growth: tuple = ()  # see random_weights
    documents: tuple = ()  # where documents begin after the first, by sequence of the batch; none: no document mask

    def fits(self, data, tensor, sequence_parallel):
        """Whether the mesh divides this case."""
        model = self.model
        micro = self.micro_batch or self.batch // data
        return (
            self.batch % data == 0
            and (self.batch // data) % micro == 0
            and model.heads % tensor == 0
            and model.ffn % tensor == 0
            and (model.kv_heads % tensor == 0 or tensor % model.kv_heads == 0)
            and (not sequence_parallel or micro * self.sequence % tensor == 0)
        )

    def first(self):
        """(B, S) lists: index of the first token of each token's document; None without a document mask."""
        if not self.documents:
            return None
        return [[max([0, *(begin for begin in self.documents[row % len(self.documents)] if begin <= token)])
                 for token in range(self.sequence)] for row in range(self.batch)]

    def config(self):
        """The case as the program's config file."""
        model, jreg, scaling = self.model, self.jreg, self.model.rope_scaling
        lines = ["[model]"]
        for name in ("layers", "hidden", "heads", "kv_heads", "head_size", "ffn", "vocab", "rope_theta", "norm_eps"):
            lines.append(f"{name} = {getattr(model, name)}")
        lines.append(f"tie_embeddings = {str(model.tie_embeddings).lower()}")
        if scaling:
            lines.append("rope_scaling.type = llama3")
            lines += [f"rope_scaling.{name} = {value}" for name, value in vars(scaling).items()]
        lines += ["[optim]", "schedule = cosine"]
        lines += [f"{name} = {value}" for name, value in vars(self.optim).items() if name != "steps"]
        lines += ["[train]", f"steps = {self.optim.steps}", f"sequence_length = {self.sequence}",
                  f"global_batch = {self.batch}", f"micro_batch = {self.micro_batch}"]
        lines += ["[data]", f"document_mask = {str(bool(self.documents)).lower()}"]
        lines += ["[jreg]", f"penalty = {jreg.penalty}", f"weights = {jreg.weights}", f"lambda = {jreg.strength}",
                  f"warmup_steps = {jreg.warmup_steps}", f"final_state = {jreg.final_state}"]
        return "\n".join(lines) + "\n"


def even(**sizes):
    """Sizes that four tensor ranks divide; the vocabulary does not and is padded."""
    return Model(**{"hidden": 24, "ffn": 24, **sizes})


short_context = RopeScaling(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)

# Displacements that fall and rise again, so that some gates are on and some are off.
rising = (1.0, 0.5, 3.0, 12.0)

CASES = [
    # Odd sizes: no two of them equal, none a multiple of a vector register.
    Case("plain_loss", jreg=Jreg(strength=0.0)),
    Case("grouped_heads_linear", jreg=Jreg("displacement", "linear", 4.0)),
    Case("tied_uniform_normed", Model(tie_embeddings=True), Jreg("displacement", "uniform", 4.0, 0, "normed"), seed=2),
    Case("one_kv_head_jump", Model(kv_heads=1, layers=4), Jreg("jump", "linear", 8.0), growth=rising, seed=3),
    Case("tied_jump_normed", Model(tie_embeddings=True, norm_eps=1e-2, layers=4),
         Jreg("jump", "uniform", 8.0, 0, "normed"), growth=rising, seed=4),
    Case("power_llama3_rope", Model(kv_heads=4, rope_theta=100.0, rope_scaling=short_context),
         Jreg("displacement", "power:2", 4.0), seed=5),
    Case("geometric_accumulated", Model(layers=4), Jreg("jump", "geometric:0.5", 8.0, 4), micro_batch=1, growth=rising,
         seed=6),
    Case("final_two_layers", Model(layers=2, norm_eps=1e-6, heads=3, kv_heads=3), Jreg("displacement", "final", 4.0),
         seed=7),
    Case("listed_weights_warm_up", Model(kv_heads=4), Jreg("displacement", "1,0,2.5", 12.0, 3, "normed"), micro_batch=1,
         seed=8),
    Case("one_short_sequence", Model(), Jreg("displacement", "linear", 4.0), sequence=2, batch=1, seed=9),
    Case("documents", Model(), Jreg("displacement", "linear", 4.0), documents=((3,), (1, 2, 6), ()), seed=15),
    # Sizes for meshes.
    Case("even_displacement", even(kv_heads=4), Jreg("displacement", "linear", 4.0), sequence=8, batch=4, seed=10),
    Case("even_tied_normed", even(kv_heads=2, tie_embeddings=True), Jreg("displacement", "uniform", 4.0, 0, "normed"),
         sequence=8, batch=4, micro_batch=1, seed=11),
    Case("even_jump", even(kv_heads=1, layers=4), Jreg("jump", "linear", 8.0), sequence=8, batch=4, growth=rising,
         seed=12),
    Case("even_tied_jump_normed", even(kv_heads=2, tie_embeddings=True, layers=4, rope_scaling=short_context),
         Jreg("jump", "power:0.5", 8.0, 4, "normed"), sequence=8, batch=4, micro_batch=1, growth=rising, seed=14),
    # Documents in micro-batches; borders in, at and next to blocks of the program's attention.
    Case("even_documents", even(kv_heads=2, rope_theta=100.0), Jreg("displacement", "linear", 4.0), sequence=8, batch=4,
         micro_batch=1, documents=((4,), (), (1, 7), (3, 4)), seed=16),
    Case("even_long_documents", even(kv_heads=1, layers=2), Jreg("displacement", "linear", 4.0), sequence=304, batch=4,
         documents=((33, 34), (290,), (), (256,)), seed=17),
]
