#!/usr/bin/env python3
"""Serves one library's sentence encoder at /v1/embeddings as Python servers usually do: FastAPI on uvicorn, texts of a request in one batch.

    bench/embed_http.py MODEL_FOLDER ENGINE --port N [--threads 2]

MODEL_FOLDER is an encoder in the Hugging Face layout with mean pooling; ENGINE is sentence-transformers-f32, sentence-transformers-bf16,
onnxruntime-f32 or onnxruntime-int8. bench/serving.py starts it with the Python that has these packages, fastapi and uvicorn.
"""

import argparse
import pathlib
import tempfile
import threading

import embed_peers


def sentence_transformers(folder, kind, options):
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(options.threads)
    model = SentenceTransformer(str(folder), device="cpu")
    model.max_seq_length = embed_peers.LIMIT
    if kind == "bf16":
        model = model.to(torch.bfloat16)

    def embed(texts):
        features = model.tokenize(texts)
        with torch.inference_mode():
            vectors = torch.nn.functional.normalize(model(features)["sentence_embedding"].float())
        return vectors.numpy(), int(features["attention_mask"].sum())

    return embed


def onnxruntime(folder, kind, options):
    run = embed_peers.onnxruntime_engine(folder, kind, options)
    tokenizer = embed_peers.tokenizer_of(folder)

    def embed(texts):
        return run(texts), sum(map(len, (e.ids for e in tokenizer.encode_batch(texts))))

    return embed


ENGINES = {"sentence-transformers": sentence_transformers, "onnxruntime": onnxruntime}


def application(embed):
    import fastapi

    app, lock = fastapi.FastAPI(), threading.Lock()

    @app.get("/health")
    def health():
        return {"status": "ok"}

    @app.post("/v1/embeddings")
    def embeddings(body: dict):
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        with lock:  # the threads of two batches at once would only be in each other's way
            vectors, tokens = embed(texts)
        data = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(vectors.tolist())]
        return {"object": "list", "model": "peer", "data": data, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}

    return app


def main():
    import uvicorn

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("engine", choices=[f"{name}-{kind}" for name, kinds in
                                           {"sentence-transformers": ("f32", "bf16"), "onnxruntime": ("f32", "int8")}.items() for kind in kinds])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    name, kind = options.engine.rsplit("-", 1)
    with tempfile.TemporaryDirectory() as work:
        options.work = pathlib.Path(work)
        embed = ENGINES[name](options.folder, kind, options)
        embed([embed_peers.QUERY])
        uvicorn.run(application(embed), host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
