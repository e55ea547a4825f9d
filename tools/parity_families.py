"""The tokenizers that parity_tokenizers.py compares: from models at hand, trained here, and one for each component."""

import dataclasses
import json
import pathlib

import gguf
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
O200K_TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# The published pre-tokenizers by the name that GGUF files give them: patterns, and whether NFC comes first.
PUBLISHED = {
    "gpt-2": ([GPT2], False),
    "starcoder": ([r"\p{N}", GPT2], False),
    "command-r": ([r"\p{N}", GPT2], True),
    "llama-bpe": ([CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|" + TAIL], False),
    "qwen2": ([CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|" + TAIL], True),
    "qwen35": (
        [CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"], True
    ),
    "gpt-4o": (
        [rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{CONTRACTIONS}?|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{CONTRACTIONS}?|\p{{N}}{{1,3}}|"
         + O200K_TAIL], False
    ),
    "tekken": (
        [rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*|\p{{N}}|" + O200K_TAIL], False
    ),
    "deepseek-v3": (
        [r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
         r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"],
        False,
    ),
    "deepseek-coder": (
        [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", r"\p{N}"], False
    ),
    "falcon": ([r"[\p{P}\$\+<=>\^~\|`]+", GPT2, r"[0-9][0-9][0-9]"], False),
    "bloom": (["" r" ?[^(\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"], False),
}  # fmt: skip
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


@dataclasses.dataclass
class Family:
    name: str
    tokenizer: Tokenizer
    paths: dict  # how the engine reads it -> where from
    special: bool = False  # compare with the tokens around the text
    real: bool = False  # of a model at hand
    points: bool = False  # sees every code point


def save(tokenizer, folder, name):
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(place / "tokenizer.json"))
    return place


def field(reader, name, default=None):
    found = reader.fields.get(name)
    return default if found is None else found.contents()


def byte_level(model, pre):
    patterns, nfc = PUBLISHED[pre]
    tokenizer = Tokenizer(model)
    if nfc:
        tokenizer.normalizer = normalizers.NFC()
    steps = [pre_tokenizers.Split(Regex(p), behavior="isolated") for p in patterns]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def from_gguf(path):
    """A tokenizer made from a GGUF file's vocabulary, without this engine."""
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
        skip = {t for t, kind in zip(tokens, types) if kind in (2, 3, 6)}
        merges = generate_merges(vocabulary, zip(tokens, scores), skip)
        tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        steps = [normalizers.Replace(" ", "\u2581")]
        if field(reader, "tokenizer.ggml.add_space_prefix", True):
            steps.insert(0, normalizers.Prepend("\u2581"))
        tokenizer.normalizer = normalizers.Sequence(steps)
        tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t, kind in zip(tokens, types) if kind in (2, 3)])
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t, kind in zip(tokens, types) if kind == 4])
    return tokenizer


def write_gguf(tokenizer, pre, path):
    """The vocabulary as a GGUF file without tensors."""
    spec = json.loads(tokenizer.to_str())
    special = {t["content"] for t in spec["added_tokens"]}
    tokens = [t for t, _ in sorted(tokenizer.get_vocab(with_added_tokens=True).items(), key=lambda item: item[1])]
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if t in special else 1 for t in tokens])
    writer.add_token_merges([" ".join(m) for m in spec["model"]["merges"]])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def published(pre, folder, texts):
    tokenizer = byte_level(models.BPE(ignore_merges=pre in ("llama-bpe", "tekken")), pre)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=3000, initial_alphabet=alphabet, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    paths = {"json": save(tokenizer, folder, pre), "gguf": write_gguf(tokenizer, pre, folder / f"{pre}.gguf")}
    return Family(pre, tokenizer, paths)


def word_piece(folder, texts):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(texts, trainers.WordPieceTrainer(vocab_size=3000, special_tokens=names, show_progress=False))
    return Family("wordpiece", tokenizer, {"json": save(tokenizer, folder, "wordpiece")})


def unigram(folder, texts, fallback):
    """T5's kind; with byte tokens, Llama's."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    names = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=2000, special_tokens=names, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator([t[:800] for t in texts[:150]], trainer)
    spec = json.loads(tokenizer.to_str())
    # Text must not become a control token; a low score sees to it in the package.
    for piece in spec["model"]["vocab"][: len(names)]:
        piece[1] = -60.0
    if fallback:
        spec["model"]["vocab"] += [[f"<0x{b:02X}>", -50.0] for b in range(256)]
        spec["model"]["byte_fallback"] = True
    name = "unigram-bytes" if fallback else "unigram"
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    return Family(name, tokenizer, {"json": save(tokenizer, folder, name)})


def component(name, normalizer, pre, folder):
    """Shows what one component does with each character: bytes as tokens, a blank before each word."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    if normalizer:
        tokenizer.normalizer = normalizer
    last = pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre, last]) if pre else last
    return Family(name, tokenizer, {"json": save(tokenizer, folder, name)}, points=True)


def code_point_texts():
    """Every code point of the blocks that are not all alike, before and after letters, marks and white space."""
    alike = [(0x3500, 0x9E00), (0xAC20, 0xD700), (0xD800, 0xF8F0), (0x17200, 0x18700), (0x20100, 0x2F800), (0x30100, 0x10FF00)]
    points = [chr(c) for c in range(1, 0x110000) if c != 10 and not any(a <= c < b for a, b in alike)]
    shapes = ["{0}a", "A{0}", "\u00e9{0}\u0301", "a\u0334{0}\u0327", " {0} ", "1{0}1", "'{0}", "\u1100{0}", "{0}{0}", "e\u0301{0}"]
    out = []
    for begin in range(0, len(points), 16):
        out.append(".".join(shape.format(c) for c in points[begin : begin + 16] for shape in shapes))
    return out


def components():
    bert = {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}
    n, p = normalizers, pre_tokenizers
    rows = {name: (getattr(n, name)(), None) for name in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt", "Strip")}
    rows |= {f"bert-{key}": (n.BertNormalizer(**{**bert, key: True}), None) for key in bert}
    rows["bert"] = (n.BertNormalizer(), p.BertPreTokenizer())
    for name in ("Whitespace", "WhitespaceSplit", "BertPreTokenizer", "ByteLevel"):
        rows[name] = (None, getattr(p, name)())
    rows["Digits"] = (None, p.Digits(individual_digits=True))
    rows["Punctuation"] = (None, p.Punctuation("isolated"))
    for name in ("L", "Lu", "Ll", "Lt", "Lm", "Lo", "M", "Mn", "Mc", "N", "Nd", "Nl", "No", "P", "Po", "S", "Sc", "So", "Z", "C", "Cn", "Cf",
                 "Han", "Hiragana", "Katakana", "Hangul", "Latin", "Cyrillic", "Greek", "Arabic", "Thai", "Devanagari"):  # fmt: skip
        rows["p-" + name] = (None, p.Split(Regex(rf"\p{{{name}}}+"), behavior="isolated"))
    rows["not-classes"] = (None, p.Split(Regex(r"[^\s\p{L}\p{N}]+|[\P{L}&&\S]"), behavior="isolated"))
    for name, pattern in {"w": r"\w+", "W": r"\W+", "d": r"\d", "s": r"\s+", "fold": "(?i:'s|'t|k|[x-z]|\u03c3)"}.items():
        rows["regex-" + name] = (None, p.Split(Regex(pattern), behavior="isolated"))
    return rows


def families(named, folder, texts, only):
    """Yields the families whose name holds `only`."""
    for entry in named:
        name, _, path = entry.partition("=")
        if only not in name:
            continue
        place = pathlib.Path(path)
        if place.is_dir() and (place / "tokenizer.json").exists():
            yield Family(name, Tokenizer.from_file(str(place / "tokenizer.json")), {"json": place}, special=True, real=True)
        else:
            tokenizer = from_gguf(place)
            yield Family(name, tokenizer, {"gguf": place, "json": save(tokenizer, folder, name)}, real=True)
    for name, (normalizer, pre) in components().items():
        if only in name:
            yield component(name, normalizer, pre, folder)
    for pre in PUBLISHED:
        if only in pre:
            yield published(pre, folder, texts)
    if only in "wordpiece":
        yield word_piece(folder, texts)
    for fallback in (False, True):
        if only in "unigram-bytes":
            yield unigram(folder, texts, fallback)
