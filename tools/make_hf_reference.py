#!/usr/bin/env python3
"""Makes small Llamas with transformers and writes what transformers computes with them, for the tests of jreg.

    python3 -m venv hf && hf/bin/pip install torch transformers
    hf/bin/python tools/make_hf_reference.py --output tests/reference/hf       # the folders that the tests keep
    hf/bin/python tools/make_hf_reference.py FOLDER...                         # of models that are there already

Each folder gets reference.safetensors: tokens (B, S + 1), logits (B * S, vocab) in fp32, the mean loss, displacement
Psi_l and jump rate zeta_l of each layer in fp64. huggingface_parity, a program of the tests, compares jreg with it.
"""
import argparse
import json
import pathlib
import shutil
import sys

import torch
import transformers
from safetensors.torch import save_file

SEQUENCES, LENGTH = 2, 21
LLAMA3 = {"rope_type": "llama3", "rope_theta": 100.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 16}


def displacement(before, after):
    """Psi: the mean over tokens of (1 - cos) / 2, in fp64, exact also where cos is near 1."""
    before, after = before.double().flatten(0, -2), after.double().flatten(0, -2)
    first, second = before.norm(dim=-1), after.norm(dim=-1)
    difference = after - before
    along = (difference * (after + before)).sum(-1) / (first + second)
    return (((difference**2).sum(-1) - along**2) / (4 * first * second)).mean().item()


def jump_rates(psi):
    """zeta_l in percent; the first layer has none."""
    rises = [max(0.0, after - before) for before, after in zip(psi, psi[1:])]
    return [float("nan")] + [100 * sum(rises[layer:]) for layer in range(len(rises))]


def compute(folder):
    """What transformers computes with the model in `folder`, weights and all else in fp32."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    model.eval()
    vocab = model.config.vocab_size
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(vocab, (SEQUENCES, LENGTH + 1), generator=generator)
    states = []  # h_0 .. h_L; the last of output_hidden_states is that after the final norm, so blocks are asked
    hooks = [model.model.embed_tokens.register_forward_hook(lambda _module, _inputs, out: states.append(out))]
    for layer in model.model.layers:
        hooks.append(layer.register_forward_hook(
            lambda _module, _inputs, out: states.append(out[0] if isinstance(out, tuple) else out)))
    with torch.no_grad():
        out = model(tokens[:, :-1], output_hidden_states=True)
    for hook in hooks:
        hook.remove()
    assert len(states) == len(model.model.layers) + 1
    for ours, theirs in zip(states[:-1], out.hidden_states):
        assert torch.equal(ours, theirs)
    logits = out.logits.flatten(0, 1)
    loss = torch.nn.functional.cross_entropy(logits.double(), tokens[:, 1:].flatten())
    psi = [displacement(before, after) for before, after in zip(states, states[1:])]
    return {"tokens": tokens.to(torch.int32), "logits": logits.float().contiguous(),
            "loss": loss.double().reshape(1), "displacement": torch.tensor(psi, dtype=torch.float64),
            "jump_rate": torch.tensor(jump_rates(psi), dtype=torch.float64)}


def write_reference(folder):
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    save_file(compute(folder), folder / "reference.safetensors", metadata=versions)


def small_model(seed, dtype=torch.float32, **changes):
    """A Llama with random weights large enough for logits of some size and states that turn, most in the last layer."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
             "num_key_value_heads": 2, "vocab_size": 96, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
             "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0}}
    config = transformers.LlamaConfig(**{**sizes, **changes})
    model = transformers.LlamaForCausalLM(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            gain = name.endswith("norm.weight")
            last = name.startswith(f"model.layers.{config.num_hidden_layers - 1}.")
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * (0.25 if last else 0.15) + gain)
    return model.to(dtype)


def rewrite_config(folder, change):
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def with_old_keys(config):
    """config.json as transformers 4 wrote it."""
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = {"type" if key == "rope_type" else key: value for key, value in rope.items()}
    config["torch_dtype"] = config.pop("dtype")
    del config["head_dim"]


def make_all(output):
    cases = {
        "grouped_heads": (small_model(1), {}),
        "tied_sharded_llama3_bf16": (small_model(2, torch.bfloat16, tie_word_embeddings=True, num_key_value_heads=1,
                                                 rope_parameters=LLAMA3), {"max_shard_size": "20KB"}),
        "odd_sizes_head_dim_f16": (small_model(3, torch.float16, hidden_size=36, num_attention_heads=3,
                                               num_key_value_heads=1, head_dim=16, intermediate_size=52,
                                               vocab_size=97), {}),
        "old_keys_llama3_sharded": (small_model(4, num_key_value_heads=4, rope_parameters=LLAMA3),
                                    {"max_shard_size": "60KB"}),
    }
    for name, (model, options) in cases.items():
        folder = output / name
        shutil.rmtree(folder, ignore_errors=True)
        model.save_pretrained(folder, **options)
        if name.startswith("old_keys"):
            rewrite_config(folder, with_old_keys)
        (folder / "generation_config.json").unlink(missing_ok=True)
        write_reference(folder)
        print(f"{folder}: {sum(file.stat().st_size for file in folder.iterdir())} bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=pathlib.Path, metavar="FOLDER",
                        help="models that get a reference.safetensors")
    parser.add_argument("--output", type=pathlib.Path, help="folder in which the small models are made")
    options = parser.parse_args()
    if not options.folders and not options.output:
        parser.error("give --output or a FOLDER")
    torch.set_num_threads(1)
    for folder in options.folders:
        if not (folder / "config.json").is_file():
            sys.exit(f"{folder}: has no config.json")
        write_reference(folder)
    if options.output:
        make_all(options.output)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")


if __name__ == "__main__":
    main()
