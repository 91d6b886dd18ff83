"""What the tests of jreg eval and jreg analyze share: the PyTorch reference on the weights of a checkpoint."""
import sys

import numpy as np
import support

sys.path.insert(0, str(support.ROOT / "tests" / "reference"))
import llama_reference as reference  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)

# Weights lively enough that layers, positions and context matter.
LIVELY = {"model__init_std": 0.3, "optim__learning_rate": 1e-2}
LENGTH = support.TINY["train.sequence_length"]
# Ranks and options of each mesh that is compared.
MESHES = {"one": (None, ()), "data2": (2, ()), "tensor2": (2, ("--tensor", "2")),
          "data2_tensor2_sequence": (4, ("--tensor", "2", "--sequence-parallel", "true"))}


def model():
    sizes = {name.split(".")[1]: value for name, value in support.TINY.items() if name.startswith("model.")}
    return reference.Model(**sizes, head_size=sizes["hidden"] // sizes["heads"])


def weights_of(checkpoint):
    """The checkpoint's weights in float64."""
    return {name.removeprefix("weights/"): torch.from_numpy(values).double()
            for name, values in support.checkpoint_tensors(checkpoint).items() if name.startswith("weights/")}


def tokens_of(prefix):
    return torch.from_numpy(np.fromfile(f"{prefix}.bin", dtype="<u2").astype(np.int64))


def windows_of(tokens, count, length=LENGTH):
    """(count, length + 1) side by side, each with the token that follows it."""
    return torch.stack([tokens[i * length:i * length + length + 1] for i in range(count)])


def assert_statistics(found, states):
    """`found` has a run's or a result's statistics by name; states as the reference's Forward has them."""
    wanted = reference.statistics_of(states)
    for name in ("displacement", "angle", "relative_update", "cosine_std", "hidden_norm"):
        np.testing.assert_allclose(np.array(found[name], float), getattr(wanted, name).numpy(), rtol=2e-5, atol=1e-5,
                                   err_msg=name)
    np.testing.assert_allclose(np.array(found["jump_rate"], float), wanted.jump_rate.numpy(), rtol=0, atol=2e-3)
