"""Vocabularies as GGUF metadata, and tokenizers of the `tokenizers` package made from such metadata, without this engine."""

import base64
import json

import gguf
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

METASPACE = "\u2581"
NORMAL, UNKNOWN, CONTROL, USER, BYTE = 1, 2, 3, 4, 6


def field(reader, name, default=None):
    found = reader.fields.get(name)
    return default if found is None else found.contents()


def read(path, byte_level):
    """The tokenizer of a GGUF file; `byte_level(model, pre)` makes the one of a named pre-tokenizer."""
    reader = gguf.GGUFReader(str(path))
    tokens, types = field(reader, "tokenizer.ggml.tokens"), field(reader, "tokenizer.ggml.token_type")
    vocabulary = {token: id for id, token in enumerate(tokens)}
    if field(reader, "tokenizer.ggml.model") == "gpt2":
        merges = [tuple(m.split(" ")) for m in field(reader, "tokenizer.ggml.merges")]
        pre = {"smollm": "starcoder"}.get(field(reader, "tokenizer.ggml.pre"), field(reader, "tokenizer.ggml.pre"))
        tokenizer = byte_level(models.BPE(vocabulary, merges), pre)
    else:
        from transformers.convert_slow_tokenizer import generate_merges

        scores = field(reader, "tokenizer.ggml.scores")
        skip = {t for t, kind in zip(tokens, types) if kind in (UNKNOWN, CONTROL, BYTE)}
        merges = generate_merges(vocabulary, zip(tokens, scores), skip)
        tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        steps = [normalizers.Replace(" ", METASPACE)]
        if field(reader, "tokenizer.ggml.add_space_prefix", True):
            steps.insert(0, normalizers.Prepend(METASPACE))
        tokenizer.normalizer = normalizers.Sequence(steps)
        tokenizer.decoder = decoders.Sequence([decoders.Replace(METASPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t, kind in zip(tokens, types) if kind in (UNKNOWN, CONTROL)])
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t, kind in zip(tokens, types) if kind == USER])
    return tokenizer


class Writer:
    """A GGUF file without tensors that holds a tokenizer's vocabulary, and what its model kind adds."""

    def __init__(self, tokenizer, model, pre="default", unknown=""):
        self.spec = json.loads(tokenizer.to_str())
        self.tokens = [t for t, _ in sorted(tokenizer.get_vocab(with_added_tokens=True).items(), key=lambda item: item[1])]
        added = {t["content"]: CONTROL if t["special"] else USER for t in self.spec["added_tokens"]}
        self.types = [UNKNOWN if t == unknown else added.get(t, NORMAL) for t in self.tokens]
        self.file = gguf.GGUFWriter("", "llama")
        self.file.add_tokenizer_model(model)
        self.file.add_tokenizer_pre(pre)
        self.file.add_add_bos_token(False)
        if unknown:
            self.file.add_unk_token_id(self.tokens.index(unknown))

    def mark_bytes(self):
        self.types = [BYTE if t.startswith("<0x") and len(t) == 6 else kind for t, kind in zip(self.tokens, self.types)]

    def write(self, path):
        self.file.add_token_list(self.tokens)
        self.file.add_token_types(self.types)
        self.file.write_header_to_file(path)
        self.file.write_kv_data_to_file()
        self.file.close()
        return path


def write_byte_level(tokenizer, pre, path):
    out = Writer(tokenizer, "gpt2", pre)
    out.file.add_token_merges([" ".join(m) for m in out.spec["model"]["merges"]])
    return out.write(path)


def write_sentence_piece(tokenizer, path):
    """SentencePiece BPE: the score of a token says when it is made, those of characters and bytes are never asked."""
    out = Writer(tokenizer, "llama", unknown="<unk>")
    out.mark_bytes()
    ranks = {"".join(merge): rank for rank, merge in reversed(list(enumerate(out.spec["model"]["merges"])))}
    out.file.add_token_scores([-float(ranks.get(t, 1_000_000)) for t in out.tokens])
    out.file.add_bos_token_id(1)
    return out.write(path)


def write_word_piece(tokenizer, path):
    """Starts of words are marked and continuations bare, as converters do."""
    out = Writer(tokenizer, "bert", unknown="[UNK]")
    out.file.add_uint32("tokenizer.ggml.cls_token_id", out.tokens.index("[CLS]"))
    out.file.add_sep_token_id(out.tokens.index("[SEP]"))
    plain = [kind == NORMAL and not (t.startswith("[") and t.endswith("]")) for t, kind in zip(out.tokens, out.types)]
    marked = [t[2:] if t.startswith("##") else METASPACE + t for t in out.tokens]
    out.tokens = [new if mark else old for old, new, mark in zip(out.tokens, marked, plain)]
    return out.write(path)


def write_unigram(tokenizer, path):
    out = Writer(tokenizer, "t5", unknown="<unk>")
    out.mark_bytes()
    out.file.add_token_scores([score for _, score in out.spec["model"]["vocab"]])
    for step in out.spec["normalizer"]["normalizers"]:
        if step["type"] == "Precompiled":
            out.file.add_precompiled_charsmap(base64.b64decode(step["precompiled_charsmap"]))
    out.file.add_remove_extra_whitespaces(True)
    out.file.add_add_eos_token(False)
    return out.write(path)
