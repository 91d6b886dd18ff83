"""Checks the PyTorch reference itself: each part against another formulation of the same thing."""

import math
import unittest

import torch

import llama_reference as reference
from llama_reference import Jreg, Model, RopeScaling

torch.set_num_threads(1)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=1):
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def relative(a, b):
    return ((a - b).norm() / b.norm()).item()


def stable_displacement(a, b):
    """Psi of each token from |d| instead of 1 - c."""
    d = b - a
    norms = a.norm(dim=-1), b.norm(dim=-1)
    s = (d * (a + b)).sum(dim=-1) / (norms[0] + norms[1])
    return ((d * d).sum(dim=-1) - s * s) / (4 * norms[0] * norms[1])


def closed_form_gradient(states, slopes):
    """dL/dh_l for given g_l = lambda/T dR/dPsi_l, from the formula instead of autograd. states: (T, H) each."""
    gradients = [torch.zeros_like(h) for h in states]
    for layer, g in enumerate(slopes):
        a, b = states[layer], states[layer + 1]
        na, nb = a.norm(dim=-1, keepdim=True), b.norm(dim=-1, keepdim=True)
        c = (a * b).sum(dim=-1, keepdim=True) / (na * nb)
        gradients[layer + 1] += -g / 2 * (a / (na * nb) - c * b / nb**2)
        gradients[layer] += -g / 2 * (b / (na * nb) - c * a / na**2)
    return gradients


class Penalty(unittest.TestCase):
    def check_gradient(self, jreg, gates, slopes):
        layers, tokens = 5, 11
        states = [normal(tokens, 8, seed=seed).requires_grad_() for seed in range(layers + 1)]
        displacement = ((1 - reference.cosines(states)) / 2).mean(dim=1)
        loss = jreg.strength * reference.penalty_for_gradient(jreg, displacement, gates)
        autograd = torch.autograd.grad(loss, states, allow_unused=True)
        formula = closed_form_gradient([h.detach() for h in states], jreg.strength / tokens * slopes)
        for got, wanted in zip(autograd, formula):
            if wanted.norm() == 0:
                self.assertTrue(got is None or got.norm() == 0)
            else:
                self.assertLess(relative(got, wanted), 1e-12)

    def test_gradient_of_displacement_is_the_closed_form(self):
        for shape in ("linear", "uniform", "final", "power:2", "geometric:0.5", "1,0,2,3,1"):
            jreg = Jreg("displacement", shape, strength=0.7)
            self.check_gradient(jreg, None, reference.depth_weights(jreg, 5))

    def test_gradient_of_jump_is_the_closed_form(self):
        for gates in ((0, 1, 0, 1, 1), (0, 0, 0, 0, 1), (0, 1, 1, 1, 1), (0, 0, 0, 0, 0)):
            jreg, gates = Jreg("jump", "linear", strength=0.7), torch.tensor(gates, dtype=torch.float64)
            gated = reference.depth_weights(jreg, 5) * gates
            slopes = gated - torch.cat((gated[1:], torch.zeros(1, dtype=torch.float64)))
            self.check_gradient(jreg, gates, slopes)

    def test_tokens_without_length_count_as_unmoved(self):
        states = [normal(4, 8, seed=seed) for seed in range(3)]
        states[1][2] = 0
        states = [h.requires_grad_() for h in states]
        cosine = reference.cosines(states)
        self.assertEqual([cosine[0, 2].item(), cosine[1, 2].item()], [1, 1])
        for gradient in torch.autograd.grad(cosine.sum(), states):
            self.assertTrue(gradient.isfinite().all())
            self.assertEqual(gradient[2].norm().item(), 0)
            self.assertGreater(gradient[1].norm().item(), 0)

    def test_displacement_equals_its_stable_formula(self):
        a, b = normal(50, 8, seed=1), normal(50, 8, seed=2)
        direct = (1 - reference.cosines([a, b])[0]) / 2
        self.assertLess(relative(stable_displacement(a, b), direct), 1e-14)

    def test_weights_by_hand(self):
        for shape, penalty, wanted in (
            ("linear", "displacement", [1 / 6, 2 / 6, 3 / 6]),
            ("linear", "jump", [0, 2 / 5, 3 / 5]),
            ("power:2", "displacement", [1 / 14, 4 / 14, 9 / 14]),
            ("geometric:0.5", "displacement", [1 / 7, 2 / 7, 4 / 7]),
            ("final", "jump", [0, 0, 1]),
            ("5,1,3", "jump", [0, 0.25, 0.75]),
        ):
            got = reference.depth_weights(Jreg(penalty, shape), 3)
            self.assertLess((got - torch.tensor(wanted, dtype=torch.float64)).abs().max().item(), 1e-15)

    def test_jump_rate_and_gates_by_hand(self):
        psi = torch.tensor([0.5, 0.1, 0.2, 0.15, 0.4], dtype=torch.float64)
        rate = reference.jump_rate(psi)
        self.assertTrue(rate[0].isnan())
        for got, wanted in zip(rate[1:].tolist(), (35, 35, 25, 25)):
            self.assertAlmostEqual(got, wanted, 12)
        self.assertEqual(reference.gates_of(psi).tolist(), [0, 0, 1, 0, 1])

    def test_warm_up_is_linear_from_the_first_update(self):
        jreg = Jreg(strength=2.0, warmup_steps=4)
        self.assertEqual([jreg.lambda_at(step) for step in (0, 1, 3, 9)], [0.5, 1.0, 2.0, 2.0])


class Statistics(unittest.TestCase):
    def test_of_two_tokens_by_hand(self):
        start = torch.tensor([[1.0, 0.0], [2.0, 0.0]], dtype=torch.float64)
        end = torch.tensor([[3.0, 0.0], [0.0, 2.0]], dtype=torch.float64)  # cosines 1 and 0
        got = reference.statistics_of([start, end])
        self.assertAlmostEqual(got.displacement.item(), 0.25)
        self.assertAlmostEqual(got.angle.item(), 0.25)
        self.assertAlmostEqual(got.cosine_std.item(), 0.5)
        self.assertAlmostEqual(got.relative_update.item(), (2 + math.sqrt(2)) / 2)
        self.assertEqual(got.hidden_norm.tolist(), [1.5, 2.5])
        self.assertEqual((got.histogram[0, 0].item(), got.histogram[0, 32].item()), (1, 1))


class Rope(unittest.TestCase):
    def test_is_a_complex_rotation(self):
        model = Model(head_size=10, rope_theta=77.0)
        heads = normal(2, 9, 3, model.head_size)
        frequency = [model.rope_theta ** (-2 * i / model.head_size) for i in range(model.head_size // 2)]
        turn = torch.tensor([[complex(math.cos(p * f), math.sin(p * f)) for f in frequency] for p in range(9)],
                            dtype=torch.complex128)
        pairs = torch.complex(heads[..., :5], heads[..., 5:]) * turn[None, :, None, :]
        got = reference.rotate(heads, reference.rope_frequencies(model))
        self.assertLess(relative(got, torch.cat((pairs.real, pairs.imag), dim=-1)), 1e-13)

    def test_scaling_is_the_published_one(self):
        def published(frequency, scaling):  # apply_scaling of Llama 3.1's reference code, one frequency at a time
            wavelength = 2 * math.pi / frequency
            if wavelength < scaling.original_max_position_embeddings / scaling.high_freq_factor:
                return frequency
            if wavelength > scaling.original_max_position_embeddings / scaling.low_freq_factor:
                return frequency / scaling.factor
            smooth = (scaling.original_max_position_embeddings / wavelength - scaling.low_freq_factor) / (
                scaling.high_freq_factor - scaling.low_freq_factor)
            return (1 - smooth) * frequency / scaling.factor + smooth * frequency

        for scaling in (RopeScaling(), RopeScaling(32.0, 1.0, 4.0, 8192), RopeScaling(2.0, 0.5, 3.0, 64)):
            plain = Model(head_size=128, rope_theta=500000.0)
            scaled = Model(head_size=128, rope_theta=500000.0, rope_scaling=scaling)
            for got, frequency in zip(reference.rope_frequencies(scaled).tolist(),
                                      reference.rope_frequencies(plain).tolist()):
                self.assertAlmostEqual(got / published(frequency, scaling), 1, 14)


class Network(unittest.TestCase):
    def setUp(self):
        self.model = Model(rope_theta=100.0)
        self.weights = reference.random_weights(self.model, generator(3))
        self.tokens = torch.randint(0, self.model.vocab, (3, 8), generator=generator(4))

    def test_attention_equals_plain_loops(self):
        model, prefix = self.model, "model.layers.0.self_attn."
        x = normal(2, 5, model.hidden)
        frequency = reference.rope_frequencies(model).tolist()

        def head(name, token, index, position):
            rows = self.weights[prefix + name][index * model.head_size:(index + 1) * model.head_size]
            values = (rows @ token).tolist()
            if position is None:
                return values
            half = model.head_size // 2
            turned = [complex(values[i], values[i + half]) * complex(math.cos(position * f), math.sin(position * f))
                      for i, f in enumerate(frequency)]
            return [z.real for z in turned] + [z.imag for z in turned]

        wanted = torch.empty(2, 5, model.hidden, dtype=torch.float64)
        for batch in range(2):
            for q in range(5):
                out = []
                for h in range(model.heads):
                    kv = h * model.kv_heads // model.heads
                    query = head("q_proj.weight", x[batch, q], h, q)
                    keys = [head("k_proj.weight", x[batch, k], kv, k) for k in range(q + 1)]
                    scores = [math.exp(sum(a * b for a, b in zip(query, key)) / math.sqrt(model.head_size))
                              for key in keys]
                    values = [head("v_proj.weight", x[batch, k], kv, None) for k in range(q + 1)]
                    out += [sum(s * v[i] for s, v in zip(scores, values)) / sum(scores)
                            for i in range(model.head_size)]
                wanted[batch, q] = self.weights[prefix + "o_proj.weight"] @ torch.tensor(out, dtype=torch.float64)
        got = reference.attention(x, self.weights, prefix, model)
        self.assertLess(relative(got, wanted), 1e-12)

    def test_no_token_sees_the_future(self):
        changed = self.tokens.clone()
        changed[:, 5] = (changed[:, 5] + 1) % self.model.vocab
        before = reference.forward(self.weights, self.tokens, self.model).logits
        after = reference.forward(self.weights, changed, self.model).logits
        self.assertTrue(torch.equal(before[:, :5], after[:, :5]))
        self.assertGreater(relative(after[:, 5:], before[:, 5:]), 1e-3)

    def test_packed_documents_equal_the_same_alone(self):
        first = torch.tensor([[0, 0, 0, 3, 4, 4, 4], [0] * 7, [0, 1, 1, 1, 1, 1, 6]])
        packed = reference.forward(self.weights, self.tokens, self.model, first=first)
        for row, begins in enumerate(([0, 3, 4, 7], [0, 7], [0, 1, 6, 7])):
            for begin, end in zip(begins, begins[1:]):
                alone = reference.forward(self.weights, self.tokens[row:row + 1, begin:end + 1], self.model)
                self.assertLess(relative(packed.logits[row, begin:end], alone.logits[0]), 1e-13)

    def test_cross_entropy_equals_torch(self):
        result = reference.forward(self.weights, self.tokens, self.model)
        wanted = torch.nn.functional.cross_entropy(result.logits.reshape(-1, self.model.vocab),
                                                   self.tokens[:, 1:].reshape(-1))
        self.assertAlmostEqual(result.cross_entropy.item(), wanted.item(), 13)

    def without(self, layers):
        """The weights where these blocks, 1..L, add nothing to the residual stream."""
        silent = {f"model.layers.{layer - 1}.{name}.weight" for layer in layers
                  for name in ("self_attn.o_proj", "mlp.down_proj")}
        return {name: 0 * value if name in silent else value for name, value in self.weights.items()}

    def test_skipped_layers_and_the_logit_lens_are_models_whose_blocks_add_nothing(self):
        layers = range(1, self.model.layers + 1)
        skipped = reference.skip_losses(self.weights, self.tokens, self.model)
        lens = reference.lens_losses(self.weights, self.tokens, self.model)
        self.assertEqual((len(skipped), len(lens)), (self.model.layers, self.model.layers + 1))
        for layer in layers:
            wanted = reference.forward(self.without([layer]), self.tokens, self.model).cross_entropy
            self.assertAlmostEqual(skipped[layer - 1].item(), wanted.item(), 13)
        for state in [0, *layers]:
            later = [layer for layer in layers if layer > state]
            wanted = reference.forward(self.without(later), self.tokens, self.model).cross_entropy
            self.assertAlmostEqual(lens[state].item(), wanted.item(), 13)

    def test_gradients_equal_differences(self):
        for penalty, final_state in (("displacement", "block"), ("jump", "normed")):
            jreg = Jreg(penalty, "linear", strength=3.0, final_state=final_state)
            gates = torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64)
            update = reference.update_gradients(self.weights, self.tokens, self.model, jreg, 0, gates)

            def loss(weights):
                result = reference.forward(weights, self.tokens, self.model, final_state)
                psi = ((1 - reference.cosines(result.states)) / 2).mean(dim=1)
                return (result.cross_entropy + 3.0 * reference.penalty_for_gradient(jreg, psi, gates)).item()

            for seed, name in enumerate(self.weights):
                direction, step = normal(*self.weights[name].shape, seed=seed), 1e-5

                def moved(by):
                    return loss({**self.weights, name: self.weights[name] + by * direction})

                slope = (8 * (moved(step) - moved(-step)) - (moved(2 * step) - moved(-2 * step))) / (12 * step)
                wanted = (update.gradients[name] * direction).sum().item()
                self.assertLess(abs(slope - wanted), 1e-8 * (1 + abs(wanted)), name)

    def test_tied_head_collects_both_gradients(self):
        tied = Model(tie_embeddings=True, rope_theta=100.0)
        weights = {name: value for name, value in self.weights.items() if name != "lm_head.weight"}
        untied = {**weights, "lm_head.weight": weights["model.embed_tokens.weight"]}
        gates = torch.zeros(3, dtype=torch.float64)
        one = reference.update_gradients(weights, self.tokens, tied, Jreg(), 0, gates).gradients
        two = reference.update_gradients(untied, self.tokens, self.model, Jreg(), 0, gates).gradients
        both = two["model.embed_tokens.weight"] + two["lm_head.weight"]
        self.assertLess(relative(one["model.embed_tokens.weight"], both), 1e-13)


if __name__ == "__main__":
    unittest.main()
