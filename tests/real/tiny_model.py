"""A language model of a few kilobytes: real weights, a real tokenizer, and answers that are known beforehand.

Its hidden state is the last token, one place of the vector for each. Its output layer is a table of the successors. So
every server that runs Llama models runs it, and FOLLOWS contains its answers.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

BOS: Final = 256
EOS: Final = 257
VOCABULARY: Final = {**{f"<0x{byte:02X}>": byte for byte in range(256)}, "<s>": BOS, "</s>": EOS}

# A hidden state has to have a place for each token, and to divide into heads of an even size.
HIDDEN: Final = 260
HEADS: Final = 2
INNER: Final = 8
LAYERS: Final = 2

# After the last layer's norm the one place that is not 0 holds the root of HIDDEN, 16; so the next token's logit is 32,
# so it is generated at any temperature that a client may send
CERTAINTY: Final = 2.0


def _chain() -> Mapping[int, int]:
    """Return each token's successor: digits repeat; letters continue to z, then a character of two bytes, and end."""
    digits, letters = b"0123456789", b"abcdefghijklmnopqrstuvwxyz" + "ü".encode()
    return {
        **dict(zip(digits, digits[1:] + digits[:1], strict=True)),
        **dict(zip(letters, [*letters[1:], EOS], strict=True)),
    }


FOLLOWS: Final = _chain()


def write_model(folder: Path) -> None:
    """Write the model as a folder of Hugging Face's hub. The answer to a message continues from its last letter."""
    folder.mkdir()
    for name, document in _DOCUMENTS.items():
        (folder / name).write_text(json.dumps(document))
    (folder / "model.safetensors").write_bytes(_safetensors(_weights()))


_DOCUMENTS: Final[Mapping[str, Any]] = {
    "config.json": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float32",
        "vocab_size": len(VOCABULARY),
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "max_position_embeddings": 65_536,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "tie_word_embeddings": False,
    },
    "tokenizer.json": {
        "version": "1.0",
        "added_tokens": [
            {"id": token, "content": content, "special": True}
            | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
            for content, token in (("<s>", BOS), ("</s>", EOS))
        ],
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": {"type": "BPE", "byte_fallback": True, "vocab": VOCABULARY, "merges": []},
    },
    "tokenizer_config.json": {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "chat_template": "{{ messages[-1]['content'] }}",
    },
}


def _weights() -> Mapping[str, tuple[tuple[int, ...], array[float]]]:
    """Yield each tensor by its name, with its shape: layers that add nothing, between the token and the table."""
    nothing = {
        "self_attn.q_proj": (HIDDEN, HIDDEN),
        "self_attn.k_proj": (HIDDEN, HIDDEN),
        "self_attn.v_proj": (HIDDEN, HIDDEN),
        "self_attn.o_proj": (HIDDEN, HIDDEN),
        "mlp.gate_proj": (INNER, HIDDEN),
        "mlp.up_proj": (INNER, HIDDEN),
        "mlp.down_proj": (HIDDEN, INNER),
    }
    tensors = {
        "model.embed_tokens.weight": _matrix({token: token for token in VOCABULARY.values()}, 1.0),
        "lm_head.weight": _matrix({after: token for token, after in FOLLOWS.items()}, CERTAINTY),
        "model.norm.weight": _ones(),
    }
    for layer in range(LAYERS):
        place = f"model.layers.{layer}"
        tensors |= {f"{place}.{name}.weight": (shape, _zeros(*shape)) for name, shape in nothing.items()}
        tensors |= {f"{place}.{name}.weight": _ones() for name in ("input_layernorm", "post_attention_layernorm")}
    return tensors


def _matrix(places: Mapping[int, int], value: float) -> tuple[tuple[int, int], array[float]]:
    """Return one row a token: `value` is in row `r`, column `places[r]`, and 0 is everywhere else."""
    values = _zeros(len(VOCABULARY), HIDDEN)
    for row, column in places.items():
        values[row * HIDDEN + column] = value
    return (len(VOCABULARY), HIDDEN), values


def _ones() -> tuple[tuple[int], array[float]]:
    return (HIDDEN,), array("f", [1.0]) * HIDDEN


def _zeros(rows: int, columns: int) -> array[float]:
    return array("f", [0.0]) * (rows * columns)


def _safetensors(tensors: Mapping[str, tuple[tuple[int, ...], array[float]]]) -> bytes:
    """Return the tensors as a file: the length of a JSON header in 8 bytes, the header, and all numbers in sequence."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (shape, values) in tensors.items():
        end = offset + len(values) * values.itemsize
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    return len(head).to_bytes(8, "little") + head + b"".join(values.tobytes() for _, values in tensors.values())
