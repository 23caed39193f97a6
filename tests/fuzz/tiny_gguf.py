"""A language model of a few numbers, as a GGUF file."""

from pathlib import Path

import gguf
import numpy as np
from tiny_models import WORDS


def write_gguf(path: Path) -> None:
    """A Llama of width 32 with one layer, drawn at random."""
    writer = gguf.GGUFWriter(path, "llama")
    tokens = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"\u0120{word}" for word in WORDS),
        *"abcdefghijklmnopqrst",
        "ab",
        "cd",
    ]
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(40)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3, *[1] * (len(tokens) - 3)])
    writer.add_token_merges(["a b", "c d"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    random = np.random.default_rng(0)
    shapes = {
        "token_embd": (len(tokens), 32), "output_norm": (32,), "output": (len(tokens), 32),
        "blk.0.attn_norm": (32,), "blk.0.ffn_norm": (32,), "blk.0.attn_q": (32, 32),
        "blk.0.attn_k": (32, 32), "blk.0.attn_v": (32, 32), "blk.0.attn_output": (32, 32),
        "blk.0.ffn_gate": (40, 32), "blk.0.ffn_up": (40, 32), "blk.0.ffn_down": (32, 40),
    }  # fmt: skip
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", random.standard_normal(shape, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
