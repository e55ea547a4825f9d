"""The tokenizers that parity_tokenizers.py compares: from models at hand, trained here, and one for each component."""

import dataclasses
import json
import os
import pathlib
import struct

import parity_gguf
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
BLOOM = " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"
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
    "bloom": ([BLOOM], False),
    "viking": ([BLOOM, r"\p{N}"], False),
    "default": ([r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"], False),
}  # fmt: skip
ROOT = pathlib.Path(__file__).resolve().parent.parent
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# The store's models and those that are trained for the tests.
STORED = ["smollm2-135m", "gemma3-270m", "qwen2.5-coder-0.5b", "minilm-l6", "e5-small-multi", "splade-tiny", "whisper-base"]
TRAINED = ["dense"]


@dataclasses.dataclass
class Family:
    name: str
    tokenizer: Tokenizer
    paths: dict  # how the engine reads it -> where from
    special: bool = False  # compare with the tokens around the text
    kind: str = "trained here"
    points: bool = False  # sees every code point


def save(tokenizer, folder, name):
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(place / "tokenizer.json"))
    return place


def byte_level(model, pre):
    patterns, nfc = PUBLISHED[pre]
    tokenizer = Tokenizer(model)
    if nfc:
        tokenizer.normalizer = normalizers.NFC()
    steps = [pre_tokenizers.Split(Regex(p), behavior="isolated") for p in patterns]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def published(pre, folder, texts):
    tokenizer = byte_level(models.BPE(ignore_merges=pre in ("llama-bpe", "tekken")), pre)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=3000, initial_alphabet=alphabet, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    paths = {"json": save(tokenizer, folder, pre), "gguf": parity_gguf.write_byte_level(tokenizer, pre, folder / f"{pre}.gguf")}
    return Family(pre, tokenizer, paths)


def word_piece(name, folder, texts):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase="cased" not in name)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(texts, trainers.WordPieceTrainer(vocab_size=3000, special_tokens=names, show_progress=False))
    gguf = parity_gguf.write_word_piece(tokenizer, folder / f"{name}.gguf")
    return Family(name, tokenizer, {"json": save(tokenizer, folder, name), "gguf": gguf})


def sentence_piece(name, folder, texts):
    """Llama 2's kind. The merges of the trainer only give the scores: of those both forms make their merges."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    names = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=3000, special_tokens=names, limit_alphabet=1000, show_progress=False)
    # A trainer without pre-tokenizer takes each text for one word.
    tokenizer.train_from_iterator([word for text in texts[:300] for word in text.split(" ")], trainer)
    spec = json.loads(tokenizer.to_str())
    spec["added_tokens"] = [t for t in spec["added_tokens"] if not t["content"].startswith("<0x")]
    gguf = parity_gguf.write_sentence_piece(Tokenizer.from_str(json.dumps(spec)), folder / f"{name}.gguf")
    tokenizer = parity_gguf.read(gguf, byte_level)
    return Family(name, tokenizer, {"json": save(tokenizer, folder, name), "gguf": gguf})


def charsmap():
    """The character map of a stored model; none if the store has no such model."""
    for entry in stored_models():
        place = pathlib.Path(entry.partition("=")[2]) / "tokenizer.json"
        normalizer = (json.loads(place.read_text())["normalizer"] or {}) if place.exists() else {}
        for step in normalizer.get("normalizers", [normalizer]):
            if step.get("type") == "Precompiled":
                return step
    return None


def unigram(name, folder, texts):
    """With NMT's clean-up and NFKC (`unigram`), with byte tokens (`-bytes`), with T5's character map (`-charsmap`)."""
    tokenizer = Tokenizer(models.Unigram())
    steps = [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
    if name == "unigram":
        steps = [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    names = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=2000, special_tokens=names, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator([t[:800] for t in texts[:150]], trainer)
    spec = json.loads(tokenizer.to_str())
    # Text must not become a control token; a low score sees to it in the package.
    for piece in spec["model"]["vocab"][: len(names)]:
        piece[1] = -60.0
    if name == "unigram-bytes":
        spec["model"]["vocab"] += [[f"<0x{b:02X}>", -50.0] for b in range(256)]
        spec["model"]["byte_fallback"] = True
    if name == "unigram-charsmap":
        spec["normalizer"]["normalizers"].insert(0, charsmap())
    # A GGUF file has scores of 32 bits.
    for piece in spec["model"]["vocab"]:
        piece[1] = struct.unpack("f", struct.pack("f", piece[1]))[0]
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    paths = {"json": save(tokenizer, folder, name)}
    if name != "unigram":
        paths["gguf"] = parity_gguf.write_unigram(tokenizer, folder / f"{name}.gguf")
    return Family(name, tokenizer, paths)


def component(name, normalizer, pre, folder):
    """Shows what one component does with each character: bytes as tokens, a blank before each word."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    if normalizer:
        tokenizer.normalizer = normalizer
    last = pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre, last]) if pre else last
    return Family(name, tokenizer, {"json": save(tokenizer, folder, name)}, kind="component", points=True)


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
    for name in ("Whitespace", "WhitespaceSplit", "BertPreTokenizer", "ByteLevel", "UnicodeScripts"):
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


def stored_models():
    """NAME=PATH of the models at hand."""
    store = pathlib.Path(os.environ.get("LAMINA_HOME", pathlib.Path.home() / ".cache/lamina")) / "models"
    trained = pathlib.Path(os.environ.get("LAMINA_TEST_MODELS", ROOT.parent / "shared/models"))
    out = []
    for place in [store / name for name in STORED] + [trained / name for name in TRAINED]:
        found = [place] if (place / "tokenizer.json").exists() else sorted(place.glob("*.gguf"))
        out += [f"{place.name}={found[0]}"] if found else []
    return out


def real(name, path, folder):
    place = pathlib.Path(path)
    if place.is_dir():
        return Family(name, Tokenizer.from_file(str(place / "tokenizer.json")), {"json": place}, special=True, kind="model")
    tokenizer = parity_gguf.read(place, byte_level)
    return Family(name, tokenizer, {"gguf": place, "json": save(tokenizer, folder, name)}, kind="model")


def families(named, folder, texts, only):
    """Yields the families whose name holds one of `only`."""
    wanted = lambda name: any(part in name for part in only)  # noqa: E731
    for entry in named:
        name, _, path = entry.partition("=")
        if wanted(name):
            yield real(name, path, folder)
    for name, (normalizer, pre) in components().items():
        if wanted(name):
            yield component(name, normalizer, pre, folder)
    for pre in filter(wanted, PUBLISHED):
        yield published(pre, folder, texts)
    for name in filter(wanted, ["wordpiece", "wordpiece-cased"]):
        yield word_piece(name, folder, texts)
    if wanted("sentencepiece"):
        yield sentence_piece("sentencepiece", folder, texts)
    for name in filter(wanted, ["unigram", "unigram-bytes", "unigram-charsmap"]):
        if name != "unigram-charsmap" or charsmap():
            yield unigram(name, folder, texts)
