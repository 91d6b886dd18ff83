"""What test_transformers.py asks of a Python that has transformers and torch. Prints one JSON object.

    transformers_check.py load FOLDER                     keys that do not fit, dtype, whether it generates
    transformers_check.py encode FOLDER TEXT              ids of a text file by the folder's tokenizer, and the text back
    transformers_check.py lm_eval FOLDER                  log-likelihoods by lm-evaluation-harness and by hand
"""
import json
import pathlib
import sys

import torch
import transformers


def load(folder):
    model, info = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="auto", output_loading_info=True)
    tokens = torch.tensor([[1, 2, 3]])
    generated = model.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=4, do_sample=False,
                               pad_token_id=0)
    return {"misfits": {key: sorted(map(str, value)) for key, value in info.items() if value}, "dtype": str(model.dtype),
            "class": type(model).__name__, "generated": generated.shape[1],
            "tied": model.get_output_embeddings().weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()}


def encode(folder, text_file):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    text = pathlib.Path(text_file).read_text(encoding="utf-8")
    ids = tokenizer(text)["input_ids"]
    return {"class": type(tokenizer).__name__, "ids": ids, "text_again": tokenizer.decode(ids) == text,
            "eos": tokenizer.eos_token_id, "bos": tokenizer.bos_token_id}


def lm_eval(folder):
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    harness = HFLM(pretrained=folder, device="cpu", dtype="float32", batch_size=1, max_length=16)
    pairs = [("some words of", " 12 lines"), ("and 16", " more"), ("some", " more more")]
    requests = [Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=0) for pair in pairs]
    theirs = [value for value, _ in harness.loglikelihood(requests)]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ours = []
    for context, continuation in pairs:
        whole = tokenizer(context + continuation)["input_ids"]
        known = len(tokenizer(context)["input_ids"])
        with torch.no_grad():
            scores = model(torch.tensor([whole])).logits[0].log_softmax(-1)
        ours.append(sum(scores[at - 1, whole[at]].item() for at in range(known, len(whole))))
    return {"harness": theirs, "by_hand": ours}


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps({"load": load, "encode": encode, "lm_eval": lm_eval}[sys.argv[1]](*sys.argv[2:])))
