"""Tokenizers and chat templates for the reference, built from GGUF metadata with the `tokenizers` library."""

from dataclasses import dataclass
from pathlib import Path

import jinja2.sandbox
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CONTROL, _USER_DEFINED = 3, 4


@dataclass
class TextTools:
    """What turns text into ids; `begin` is the id to put first, or None."""

    tokenizer: Tokenizer
    template: str | None
    bos: int | None
    eos: int | None
    begin: int | None


def _pre_tokenizer(kind):
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if kind == "gpt-2":
        return byte_level
    if kind == "smollm":
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    if kind == "qwen2":
        split = pre_tokenizers.Split(Regex(_QWEN2), "isolated")
        plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        return pre_tokenizers.Sequence([split, plain])
    raise SystemExit(f"pre-tokenizer {kind} is not one of: gpt-2, smollm, qwen2")


def _byte_level_bpe(metadata):
    tokens = metadata["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ", 1)) for merge in metadata["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = _pre_tokenizer(metadata["tokenizer.ggml.pre"])
    tokenizer.decoder = decoders.ByteLevel()
    kinds = metadata["tokenizer.ggml.token_type"]
    for special, wanted in ((True, _CONTROL), (False, _USER_DEFINED)):
        added = [AddedToken(t, special=special, normalized=False) for t, kind in zip(tokens, kinds) if kind == wanted]
        (tokenizer.add_special_tokens if special else tokenizer.add_tokens)(added)
    return tokenizer


def load_text_tools(path, metadata):
    """Returns TextTools; for a tokenizer model other than `gpt2`, one without a tokenizer (ids only)."""
    if metadata is None:
        folder = Path(path)
        return TextTools(Tokenizer.from_file(str(folder / "tokenizer.json")), None, None, None, None)
    bos, eos = (metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos"))
    byte_level = metadata.get("tokenizer.ggml.model") == "gpt2"
    return TextTools(
        tokenizer=_byte_level_bpe(metadata) if byte_level else None,
        template=metadata.get("tokenizer.chat_template"),
        bos=bos,
        eos=eos,
        begin=bos if metadata.get("tokenizer.ggml.add_bos_token") else None,
    )


def encode(tools, text, begin=True):
    """Ids of a text; control tokens written in it are recognized."""
    if tools.tokenizer is None:
        raise SystemExit("this model's tokenizer is not byte-level BPE: give token ids")
    ids = tools.tokenizer.encode(text, add_special_tokens=False).ids
    return ([tools.begin] if begin and tools.begin is not None else []) + ids


def render_chat(tools, messages):
    """The prompt text of a chat by the model's own template, up to where the answer begins."""
    if tools.template is None:
        raise SystemExit("this model has no chat template: give texts")
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    tokens = tools.tokenizer
    names = {f"{name}_token": tokens.id_to_token(value) for name, value in (("bos", tools.bos), ("eos", tools.eos))}
    return environment.from_string(tools.template).render(messages=messages, add_generation_prompt=True, **names)
