#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <vector>

#include "compress/edit.h"
#include "layers/input_recorder.h"
#include "run/runner.h"

namespace lamina::compress {

/// The tokens of texts, one after another, by the model's own tokenizer. kIo, kUnsupported: no tokenizer.
core::Result<std::vector<int32_t>> read_calibration(const std::vector<std::filesystem::path>& texts,
                                                    const format::ModelFiles& files);

/// What a pass watches while the model as edited so far reads calibration text.
struct Watch {
  layers::InputRecorder* recorder = nullptr;
  run::BorderHook* hook = nullptr;
};

/// Loads the model as of the last commit() and reads edit.calibration() in windows of that many tokens, each in one
/// step; the watchers see a layer's parts and matrices in the order in which they run. `make` is given the model that
/// runs, whose matrices the recorder will be told. kInvalid: less than one window.
core::Status run_calibration(const ModelEdit& edit, int64_t window,
                             const std::function<core::Result<Watch>(const models::Model&)>& make);

}  // namespace lamina::compress
