"""Llama with the JREG penalty as plain PyTorch functions in float64; autograd gives the gradients.

Written from the definitions, without the program's code: LlamaForCausalLM's computation (RMSNorm, rotary positions in
the half-rotated order with theta and Llama-3 scaling, grouped-query attention, SwiGLU, tied or untied head) and the
displacement and jump penalties with their statistics (arXiv 2601.18302).

B sequences of S tokens, L blocks, H hidden size. Layer l = 1..L has index l - 1 in vectors with L elements.
"""

import math
from dataclasses import dataclass, field

import torch

TINY_NORM = 1e-12  # a token with a shorter hidden state counts as cosine 1, without gradient
HISTOGRAM_BINS = 64


@dataclass
class RopeScaling:
    factor: float = 8.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192


@dataclass
class Model:
    layers: int = 3
    hidden: int = 20
    heads: int = 4
    kv_heads: int = 2
    head_size: int = 6
    ffn: int = 22
    vocab: int = 37
    tie_embeddings: bool = False
    rope_theta: float = 10000.0
    norm_eps: float = 1e-5
    rope_scaling: RopeScaling | None = None

    def shapes(self):
        """Name -> shape of every parameter, as Hugging Face writes them."""
        query, key = self.heads * self.head_size, self.kv_heads * self.head_size
        block = {
            "input_layernorm.weight": (self.hidden,),
            "self_attn.q_proj.weight": (query, self.hidden),
            "self_attn.k_proj.weight": (key, self.hidden),
            "self_attn.v_proj.weight": (key, self.hidden),
            "self_attn.o_proj.weight": (self.hidden, query),
            "post_attention_layernorm.weight": (self.hidden,),
            "mlp.gate_proj.weight": (self.ffn, self.hidden),
            "mlp.up_proj.weight": (self.ffn, self.hidden),
            "mlp.down_proj.weight": (self.hidden, self.ffn),
        }
        shapes = {"model.embed_tokens.weight": (self.vocab, self.hidden)}
        for layer in range(self.layers):
            shapes.update({f"model.layers.{layer}.{name}": shape for name, shape in block.items()})
        shapes["model.norm.weight"] = (self.hidden,)
        if not self.tie_embeddings:
            shapes["lm_head.weight"] = (self.vocab, self.hidden)
        return shapes


@dataclass
class Jreg:
    penalty: str = "displacement"
    weights: str = "linear"
    strength: float = 0.0  # lambda
    warmup_steps: int = 0
    final_state: str = "block"

    def lambda_at(self, step):
        return self.strength * (min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0)


@dataclass
class Forward:
    states: list  # h_0..h_L, (B, S, H) each; h_L after the final norm where final_state says so
    logits: torch.Tensor  # (B, S, vocab)
    cross_entropy: torch.Tensor  # mean over tokens, nats
    token_losses: torch.Tensor  # (B, S) nats


@dataclass
class Statistics:
    displacement: torch.Tensor  # (L) Psi
    jump_rate: torch.Tensor  # (L) zeta in percent, the first is NaN
    angle: torch.Tensor  # (L)
    relative_update: torch.Tensor  # (L)
    cosine_std: torch.Tensor  # (L)
    hidden_norm: torch.Tensor  # (L + 1)
    histogram: torch.Tensor = field(default=None)  # (L, HISTOGRAM_BINS) tokens


def rope_frequencies(model):
    """(head_size / 2) angle per position of each pair, in radians."""
    frequency = model.rope_theta ** (-torch.arange(0, model.head_size, 2, dtype=torch.float64) / model.head_size)
    scaling = model.rope_scaling
    if scaling is None:
        return frequency
    wavelength = 2 * math.pi / frequency
    turns = scaling.original_max_position_embeddings / wavelength  # within the original context
    keep = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    keep = keep.clamp(0, 1)  # 1: a short wave stays, 0: a long wave is stretched by `factor`
    return (1 - keep) * frequency / scaling.factor + keep * frequency


def positions_in_documents(first):
    """first (B, S): index in the sequence of the first token of each token's document -> position in the document."""
    return torch.arange(first.shape[1])[None, :] - first


def rotate(heads, frequency, position=None):
    """heads (B, S, heads, head_size): pairs (i, i + head_size/2) turned by position * frequency[i]. position (B, S) or,
    where it is None, the index in the sequence."""
    if position is None:
        position = torch.arange(heads.shape[1])[None, :]
    angle = (position[:, :, None].to(frequency.dtype) * frequency)[:, :, None, :]
    first, second = heads.chunk(2, dim=-1)
    cosine, sine = angle.cos().to(heads.dtype), angle.sin().to(heads.dtype)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1)


def rms_norm(x, gain, eps):
    return x / torch.sqrt((x * x).mean(dim=-1, keepdim=True) + eps) * gain


def attention(x, weights, prefix, model, first=None):
    """x (B, S, H) normed; the output projection's result (B, S, H). first (B, S): see positions_in_documents; tokens
    see their own document only."""
    batch, sequence, _ = x.shape
    if first is None:
        first = torch.zeros(batch, sequence, dtype=torch.long)
    position = positions_in_documents(first)

    def heads_of(name, count):
        return (x @ weights[prefix + name].T).view(batch, sequence, count, model.head_size)

    frequency = rope_frequencies(model)
    query = rotate(heads_of("q_proj.weight", model.heads), frequency, position)
    key = rotate(heads_of("k_proj.weight", model.kv_heads), frequency, position)
    value = heads_of("v_proj.weight", model.kv_heads)
    group = model.heads // model.kv_heads  # consecutive query heads share a key/value head
    key, value = key.repeat_interleave(group, dim=2), value.repeat_interleave(group, dim=2)
    scores = torch.einsum("bqhd,bkhd->bhqk", query, key) / math.sqrt(model.head_size)
    future = torch.ones(sequence, sequence, dtype=torch.bool).triu(1)
    elsewhere = first[:, :, None] != first[:, None, :]  # (B, query, key)
    mixed = scores.masked_fill((future | elsewhere)[:, None], -math.inf).softmax(dim=-1)
    out = torch.einsum("bhqk,bkhd->bqhd", mixed, value)
    return out.reshape(batch, sequence, -1) @ weights[prefix + "o_proj.weight"].T


def mlp(x, weights, prefix):
    gate = x @ weights[prefix + "gate_proj.weight"].T
    up = x @ weights[prefix + "up_proj.weight"].T
    return (torch.sigmoid(gate) * gate * up) @ weights[prefix + "down_proj.weight"].T


def token_losses(normed, targets, weights, model):
    """normed (B, S, H) before the classifier -> its logits (B, S, vocab) and the cross entropy of each target (B, S)."""
    head = weights["model.embed_tokens.weight" if model.tie_embeddings else "lm_head.weight"]
    logits = normed @ head.T
    return logits, torch.logsumexp(logits, dim=-1) - logits.gather(-1, targets[..., None])[..., 0]


def forward(weights, tokens, model, final_state="block", first=None, left_out=None):
    """tokens (B, S + 1): inputs are the first S of each sequence, targets the last S. first (B, S): see attention.
    left_out: number, 1..L, of a block that the model is computed without."""
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    state = weights["model.embed_tokens.weight"][inputs]
    states = [state]
    for layer in range(model.layers):
        if layer + 1 == left_out:
            states.append(state)
            continue
        block = f"model.layers.{layer}."
        normed = rms_norm(state, weights[block + "input_layernorm.weight"], model.norm_eps)
        state = state + attention(normed, weights, block + "self_attn.", model, first)
        normed = rms_norm(state, weights[block + "post_attention_layernorm.weight"], model.norm_eps)
        state = state + mlp(normed, weights, block + "mlp.")
        states.append(state)
    normed = rms_norm(state, weights["model.norm.weight"], model.norm_eps)
    if final_state == "normed":
        states[-1] = normed
    logits, losses = token_losses(normed, targets, weights, model)
    return Forward(states, logits, losses.mean(), losses)


def lens_losses(weights, tokens, model, first=None):
    """(L + 1) mean cross entropy where final norm and classifier read h_l, l = 0..L, in place of h_L."""
    states = forward(weights, tokens, model, "block", first).states
    gain = weights["model.norm.weight"]
    return torch.stack([token_losses(rms_norm(state, gain, model.norm_eps), tokens[:, 1:], weights, model)[1].mean()
                        for state in states])


def skip_losses(weights, tokens, model, first=None):
    """(L) mean cross entropy of the model without block l, l = 1..L."""
    return torch.stack([forward(weights, tokens, model, "block", first, left_out).cross_entropy
                        for left_out in range(1, model.layers + 1)])


def cosines(states):
    """(L, tokens) cosine of h_{l-1} and h_l."""
    flat = [state.reshape(-1, state.shape[-1]) for state in states]
    result = []
    for start, end in zip(flat, flat[1:]):
        whole = (start.norm(dim=-1) >= TINY_NORM) & (end.norm(dim=-1) >= TINY_NORM)
        # the short ones are replaced before the division, so that no NaN reaches their gradient
        start, end = (torch.where(whole[:, None], h, torch.ones_like(h)) for h in (start, end))
        cosine = (start * end).sum(dim=-1) / (start.norm(dim=-1) * end.norm(dim=-1))
        result.append(torch.where(whole, cosine, torch.ones_like(cosine)))
    return torch.stack(result)


def jump_rate(displacement):
    """zeta_l = 100 sum_{k=l..L} max(0, Psi_k - Psi_{k-1}); the first is NaN."""
    rises = (displacement[1:] - displacement[:-1]).clamp(min=0)
    sums = [rises[layer:].sum() for layer in range(len(rises))]
    return 100 * torch.stack([torch.tensor(math.nan, dtype=displacement.dtype), *sums])


def statistics_of(states):
    with torch.no_grad():
        cosine = cosines(states).clamp(-1, 1)
        psi = (1 - cosine) / 2  # (L, tokens)
        norm = torch.stack([state.norm(dim=-1).flatten() for state in states])  # (L + 1, tokens)
        update = torch.stack([(b - a).norm(dim=-1).flatten() for a, b in zip(states, states[1:])])
        relative = update / norm[:-1].clamp(min=TINY_NORM)
        relative[norm[:-1] < TINY_NORM] = 0
        bins = (psi * HISTOGRAM_BINS).long().clamp(max=HISTOGRAM_BINS - 1)
        displacement = psi.mean(dim=1)
        return Statistics(
            displacement=displacement,
            jump_rate=jump_rate(displacement),
            angle=(cosine.arccos() / math.pi).mean(dim=1),
            relative_update=relative.mean(dim=1),
            cosine_std=cosine.std(dim=1, unbiased=False),
            hidden_norm=norm.mean(dim=1),
            histogram=torch.stack([row.bincount(minlength=HISTOGRAM_BINS) for row in bins]),
        )


def depth_weights(jreg, layers):
    """(L) normalised w_l; w_1 = 0 for the jump penalty."""
    shape, _, parameter = jreg.weights.partition(":")
    if shape == "linear":
        raw = [layer for layer in range(1, layers + 1)]
    elif shape == "uniform":
        raw = [1] * layers
    elif shape == "final":
        raw = [0] * (layers - 1) + [1]
    elif shape == "power":
        raw = [(layer / layers) ** float(parameter) for layer in range(1, layers + 1)]
    elif shape == "geometric":
        raw = [float(parameter) ** (layers - layer) for layer in range(1, layers + 1)]
    else:
        raw = [float(number) for number in shape.split(",")]
    weights = torch.tensor(raw, dtype=torch.float64)
    if jreg.penalty == "jump":
        weights[0] = 0
    return weights / weights.sum()


def gates_of(displacement):
    """(L) [Psi_l > Psi_{l-1}], the first 0: what switches the terms of the next update's jump penalty."""
    rises = (displacement[1:] > displacement[:-1]).to(torch.float64)
    return torch.cat((torch.zeros(1, dtype=torch.float64), rises))


def penalty_value(jreg, displacement):
    """R as it is reported: the terms that are on are those of this Psi."""
    weights = depth_weights(jreg, len(displacement))
    if jreg.penalty == "displacement":
        return (weights * displacement).sum()
    return (weights[1:] * (displacement[1:] - displacement[:-1]).clamp(min=0)).sum()


def penalty_for_gradient(jreg, displacement, gates):
    """R as it is differentiated: for the jump penalty with given gates."""
    weights = depth_weights(jreg, len(displacement))
    if jreg.penalty == "displacement":
        return (weights * displacement).sum()
    return (weights[1:] * gates[1:] * (displacement[1:] - displacement[:-1])).sum()


@dataclass
class Update:
    forward: Forward
    statistics: Statistics
    jreg: torch.Tensor  # R
    gradients: dict  # name -> d(cross entropy + lambda R)/d(parameter)
    cross_entropy_gradients: dict  # name -> the same without the penalty
    gates: torch.Tensor  # (L) for the next update


def update_gradients(weights, tokens, model, jreg, step, gates, first=None):
    """Everything an update computes before the optimizer; `gates` (L) are those of the update before;
    first (B, S): see attention."""
    weights = {name: value.detach().clone().requires_grad_() for name, value in weights.items()}
    result = forward(weights, tokens, model, jreg.final_state, first)
    displacement = ((1 - cosines(result.states)) / 2).mean(dim=1)
    strength = jreg.lambda_at(step)

    def gradients(loss, keep):
        values = torch.autograd.grad(loss, list(weights.values()), retain_graph=keep)
        return dict(zip(weights, values))

    plain = gradients(result.cross_entropy, keep=True)
    total = gradients(result.cross_entropy + strength * penalty_for_gradient(jreg, displacement, gates), keep=False)
    displacement = displacement.detach()
    return Update(result, statistics_of(result.states), penalty_value(jreg, displacement), total, plain,
                  gates_of(displacement))


def random_weights(model, generator, growth=()):
    """Lively weights, rounded to float32 so that every program reads the same numbers. growth[l] multiplies what
    block l adds to the residual stream: where it rises with depth, so does the displacement."""
    def spread(name):
        if name == "model.embed_tokens.weight" and not model.tie_embeddings:
            return 1.0
        if "q_proj" in name or "k_proj" in name:
            return 0.2  # a sharper softmax would be ill-conditioned in float32
        if growth and ("o_proj" in name or "down_proj" in name):
            return 0.3 * growth[int(name.split(".")[2])]
        return 0.3

    def draw(name, shape):
        values = torch.randn(shape, generator=generator, dtype=torch.float64)
        values = 1 + 0.2 * values if len(shape) == 1 else spread(name) * values
        return values.float().double()

    return {name: draw(name, shape) for name, shape in model.shapes().items()}
