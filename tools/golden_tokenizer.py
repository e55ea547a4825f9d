"""A tiny byte-level BPE tokenizer, trained here on one sentence, for the vocabulary of the tiny models."""

_TEXT = "the layer is the unit of the stack and the stack is run layer by layer, then the stack and the layers are shown"


def byte_glyphs():
    """The printable stand-in of each byte, as GPT-2's byte-level BPE writes them."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    glyphs = {byte: chr(byte) for byte in plain}
    glyphs.update({byte: chr(256 + index) for index, byte in enumerate(others)})
    return [glyphs[byte] for byte in range(256)]


def _train(glyphs, count):
    """The `count` first merges of BPE on _TEXT: most frequent pair first, then the smaller pair."""
    space = glyphs[0x20]
    words = [list(word) for word in (space + _TEXT.replace(" ", " " + space)).split(" ")]
    merges = []
    while len(merges) < count:
        pairs = {}
        for word in words:
            for pair in zip(word, word[1:]):
                pairs[pair] = pairs.get(pair, 0) + 1
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for word in words:
            at = 0
            while at + 1 < len(word):
                if (word[at], word[at + 1]) == best:
                    word[at : at + 2] = ["".join(best)]
                at += 1
    return merges


def make_tokenizer(size):
    """Returns (tokens, merges): `size` tokens of which the last is the control token `<|end|>`.

    From 258 on all 256 bytes are there; a smaller vocabulary has newline and printable ASCII only.
    """
    glyphs = byte_glyphs()
    covered = range(256) if size >= 258 else [0x0A, *range(0x20, 0x7F)]
    tokens = [glyphs[byte] for byte in covered]
    merges = _train(glyphs, size - len(tokens) - 1)
    tokens += ["".join(pair) for pair in merges]
    assert len(set(tokens)) == size - 1
    return [*tokens, "<|end|>"], [" ".join(pair) for pair in merges]
