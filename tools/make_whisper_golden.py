#!/usr/bin/env python3
"""Runs Whisper base of the reference library on a synthetic sound and writes tests/golden/real/whisper-base.

    make_whisper_golden.py FOLDER OUT     FOLDER: the model whisper-base of the store

OUT gets mel.npy int8 [mel bands, frames], the spectrogram in steps of 1/64, which is what the model hears; encoder.npy
float32 [positions, hidden] (every 50th row of what the encoder hands to the decoder), hidden.npy float32 [layers + 1,
tokens, hidden] (every 4th token) and logits.npy float32 [tokens, 256] (the first 256 of the vocabulary) of the decoder over
`tokens`, and truth.json: those tokens, the prompt and start token in front, each chosen greedily, and the margin between
the two best logits at each choice.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

MEL_BANDS = 80
HOP = 160
RATE = 16000
STEPS = 64
ENCODER_ROW = 50
HIDDEN_ROW = 4


def synthetic_sound(seconds=30):
    """Gliding tones that swell like syllables, three a second, and silence in the last third."""
    time = np.arange(seconds * RATE) / RATE
    pitch = 120 + 30 * np.sin(2 * np.pi * 0.7 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    voice = sum(np.sin(n * phase) / n for n in range(1, 12))
    return (0.2 * voice * np.maximum(0, np.sin(2 * np.pi * 3 * time)) * (time < seconds * 2 / 3)).astype(np.float32)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=24)
    options = parser.parse_args()
    import torch
    import transformers

    from make_encdec_golden import Borders

    torch.set_num_threads(2)
    model = transformers.WhisperForConditionalGeneration.from_pretrained(
        options.folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    extractor = transformers.WhisperFeatureExtractor(feature_size=MEL_BANDS, sampling_rate=RATE, hop_length=HOP)
    heard = extractor(synthetic_sound(), sampling_rate=RATE, return_tensors="np").input_features[0]
    mel = np.clip(np.rint(heard * STEPS), -128, 127).astype(np.int8)
    features = torch.tensor(mel.astype(np.float32) / STEPS)[None]
    tokens, margins = [50258, 50259, 50359, 50363], []
    with torch.inference_mode():
        encoded = model.model.encoder(features)
        for _ in range(options.count):
            logits = model(encoder_outputs=encoded, decoder_input_ids=torch.tensor([tokens]), use_cache=False).logits[0, -1]
            best = torch.topk(logits, 2)
            margins.append(float(best.values[0] - best.values[1]))
            tokens.append(int(best.indices[0]))
        borders = Borders(model.model.decoder.layers)
        result = model(encoder_outputs=encoded, decoder_input_ids=torch.tensor([tokens]), use_cache=False)
    options.out.mkdir(parents=True, exist_ok=True)
    np.save(options.out / "mel.npy", mel)
    np.save(options.out / "encoder.npy", encoded.last_hidden_state[0, ::ENCODER_ROW].numpy())
    np.save(options.out / "hidden.npy", borders.close()[:, ::HIDDEN_ROW])
    np.save(options.out / "logits.npy", result.logits[0, :, :256].numpy())
    report = {
        "made_by": f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}, float32, eager",
        "tokens": tokens,
        "margins": margins,
    }
    (options.out / "truth.json").write_text(json.dumps(report) + "\n")
    print(f"{options.out}: {len(tokens)} tokens, least margin {min(margins):.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
