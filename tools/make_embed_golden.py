#!/usr/bin/env python3
"""Writes tiny random sentence encoders, saved by sentence-transformers, and what it makes of some texts, into
tests/golden/embed/.

    make_embed_golden.py [--out DIR]                 the tiny ones
    make_embed_golden.py --trained DIR [--out DIR]   trained_rerank.json: scores of the trained reranker in DIR/rerank for
                                                     some lines of DIR/eval/rerank.jsonl

Each case is the folder that the library saves (model, tokenizer, modules) and expected.json: a list of
{prompt_name, pooling, dimensions, texts, vectors} for the encoders, {pairs, scores} for the reranker. Texts are short,
empty, of several scripts, and longer than the model takes (the library cuts them). See docs/references.md.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast, Qwen3Config, Qwen3Model

STORE = Path(__file__).resolve().parent.parent / "tests" / "golden" / "embed"
LIMIT = 20
TEXTS = [
    "a cat sat on the mat",
    "",
    "Größe, naïve café -- 東京 🙂!",
    "the cat " * 30,
    "x",
    "A cat\tsat\n on the  MAT.",
]
WORDS = ["the", "cat", "sat", "on", "mat", "query", "passage", "##s", "##ing"]


def word_pieces():
    """A WordPiece tokenizer of letters and a few words."""
    letters = "abcdefghijklmnopqrstuvwxyz.,!:-"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *["##" + c for c in letters[:26]], *WORDS]
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    names["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=24, **names), len(pieces)


def byte_pieces():
    """A byte-level tokenizer that ends a text with the token for its end, as embedding models of the Qwen3 kind do."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = {piece: i for i, piece in enumerate([*alphabet, "th", "Ġc"])}
    pieces["<|end|>"] = len(pieces)
    tokenizer = Tokenizer(models.BPE(pieces, merges=[("t", "h"), ("Ġ", "c")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    end = pieces["<|end|>"]
    tokenizer.add_special_tokens(["<|end|>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|end|>", pair="$A $B:1 <|end|>", special_tokens=[("<|end|>", end)]
    )
    names = {"eos_token": "<|end|>", "pad_token": "<|end|>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=48, **names), len(pieces)


def randomize(model, seed):
    """Scores spread over several units, norm weights in 0.5 .. 1.5, biases away from 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            if "norm" in name.lower() and name.endswith("weight"):
                parameter.copy_(1 + noise.clamp(-2, 2) / 4)
            elif parameter.dim() == 1:
                parameter.copy_(noise / 5)
            else:
                parameter.copy_(noise * 1.3 / parameter.shape[1] ** 0.5)


def bert_config(vocabulary, **more):
    return BertConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=24,
        **more,
    )


def save_base(root, model, tokenizer, seed):
    randomize(model, seed)
    model.eval().save_pretrained(root)
    tokenizer.save_pretrained(root)
    return str(root)


def save_encoder(folder, encoder):
    """The library's own layout, less the model card."""
    shutil.rmtree(folder, ignore_errors=True)
    encoder.save(str(folder), create_model_card=False)


def encode(encoder, texts, **options):
    """One text at a time: no padding."""
    vectors = [encoder.encode([text], convert_to_numpy=True, show_progress_bar=False, **options)[0] for text in texts]
    return [[float(number) for number in vector] for vector in vectors]


def write_expected(folder, rows):
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (folder / "expected.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def dense_case(folder, base):
    """Mean, a dense layer, length 1; a default prompt; cut vectors."""
    prompts = {"query": "query: ", "passage": "passage: ", "none": ""}
    dense = Dense(32, 24, bias=True, activation_function=torch.nn.Tanh())
    randomize(dense, 3)
    modules = [Transformer(base, max_seq_length=LIMIT), Pooling(32, "mean"), dense, Normalize()]
    encoder = SentenceTransformer(modules=modules, prompts=prompts, default_prompt_name="query", truncate_dim=16)
    save_encoder(folder, encoder)
    rows = []
    for name, dimensions in [("", 24), ("passage", 24), ("none", 24), ("none", 16)]:
        options = {"prompt_name": name} if name else {}
        vectors = encode(encoder, TEXTS, truncate_dim=dimensions, normalize_embeddings=True, **options)
        rows.append({"prompt_name": name, "pooling": "", "dimensions": dimensions, "texts": TEXTS, "vectors": vectors})
    write_expected(folder, rows)


def pooling_case(folder, base):
    """Every pooling with and without the prompt's rows; no length, an activation that is not the default."""
    names = {"cls": "cls", "mean": "mean", "max": "max", "lasttoken": "last", "weightedmean": "weighted_mean"}
    names["mean_sqrt_len_tokens"] = "mean_sqrt_len"
    rows = []
    for mode, name in names.items():
        dense = Dense(32, 32, bias=False, activation_function=torch.nn.Identity())
        randomize(dense, 4)
        modules = [Transformer(base, max_seq_length=LIMIT), Pooling(32, mode, include_prompt=False), dense]
        encoder = SentenceTransformer(modules=modules, prompts={"query": "query: "})
        if mode == "cls":
            save_encoder(folder, encoder)
        texts = TEXTS[:3]
        for prompt in ("", "query"):
            options = {"prompt_name": prompt} if prompt else {}
            vectors = encode(encoder, texts, **options)
            rows.append({"prompt_name": prompt, "pooling": name, "dimensions": 0, "texts": texts, "vectors": vectors})
    write_expected(folder, rows)


def decoder_case(folder, base):
    """The last row of a decoder, which stands on the token for the end."""
    prompts = {"query": "Instruct: find it\nQuery:", "document": ""}
    modules = [Transformer(base, max_seq_length=48), Pooling(32, "lasttoken"), Normalize()]
    encoder = SentenceTransformer(modules=modules, prompts=prompts)
    save_encoder(folder, encoder)
    rows = []
    for name in ("", "query"):
        options = {"prompt_name": name} if name else {}
        vectors = encode(encoder, TEXTS, **options)
        rows.append({"prompt_name": name, "pooling": "", "dimensions": 0, "texts": TEXTS, "vectors": vectors})
    write_expected(folder, rows)


def rerank_case(folder, base):
    """Scores of pairs, before any activation; long pairs are cut."""
    shutil.rmtree(folder, ignore_errors=True)
    encoder = CrossEncoder(base, num_labels=1, max_length=LIMIT, activation_fn=torch.nn.Identity())
    shutil.copytree(base, folder)
    documents = [*TEXTS, "mat"]
    pairs = [["which cat?", document] for document in documents] + [["the cat sat " * 9, "a mat"]]
    scores = [float(encoder.predict([pair], show_progress_bar=False)[0]) for pair in pairs]
    write_expected(folder, [{"pairs": pairs, "limit": LIMIT, "scores": scores}])


def trained_scores(folder):
    """Scores of some queries' passages; the texts stay where they are."""
    exact = {"device": "cpu", "model_kwargs": {"dtype": torch.float32}}
    encoder = CrossEncoder(str(folder / "rerank"), activation_fn=torch.nn.Identity(), **exact)
    lines = (folder / "eval" / "rerank.jsonl").read_text(encoding="utf-8").splitlines()
    rows = []
    for number in (0, 60, 120, 180, 240):
        item = json.loads(lines[number])
        pairs = [(item["query"], passage) for passage in item["passages"]]
        scores = [float(encoder.predict([pair], show_progress_bar=False)[0]) for pair in pairs]
        rows.append({"line": number, "scores": scores})
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=STORE)
    parser.add_argument("--trained", type=Path, help="where the trained models lie")
    options = parser.parse_args()
    torch.set_num_threads(2)
    transformers.utils.logging.disable_progress_bar()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.trained:
        lines = ",\n".join(json.dumps(row) for row in trained_scores(options.trained))
        (options.out / "trained_rerank.json").write_text(f"[\n{lines}\n]\n")
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        pieces, count = word_pieces()
        bert = save_base(Path(scratch) / "bert", BertModel(bert_config(count)), pieces, 1)
        dense_case(options.out / "dense", bert)
        pooling_case(options.out / "pooling", bert)
        ranker = BertForSequenceClassification(bert_config(count, num_labels=1))
        rerank_case(options.out / "rerank", save_base(Path(scratch) / "rerank", ranker, pieces, 2))
        pieces, count = byte_pieces()
        config = Qwen3Config(
            vocab_size=count,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            intermediate_size=48,
            max_position_embeddings=48,
            tie_word_embeddings=True,
        )
        decoder_case(options.out / "decoder", save_base(Path(scratch) / "qwen3", Qwen3Model(config), pieces, 5))
    return 0


if __name__ == "__main__":
    sys.exit(main())
