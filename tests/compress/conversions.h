#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "app/temporary_folder.h"
#include "codec/codec.h"
#include "compress/compress.h"
#include "run/encoder_decoder_runs.h"
#include "run/golden_files.h"
#include "run/model_runs.h"

namespace lamina::compress {

inline core::Result<CompressReport> write(const std::filesystem::path& model, const std::filesystem::path& out,
                                          const std::string& recipe = "", int64_t split_bytes = 0, bool force = false) {
  core::ThreadPool pool(2);
  return compress({.model = model, .out = out, .recipe = recipe, .split_bytes = split_bytes, .force = force}, pool, {});
}

/// As write(); the test fails on an error.
inline CompressReport written(const std::filesystem::path& model, const std::filesystem::path& out,
                              const std::string& recipe = "", int64_t split_bytes = 0) {
  auto report = write(model, out, recipe, split_bytes);
  EXPECT_TRUE(report) << model << " -> " << out << ": " << report.error().text();
  return report ? *report : CompressReport{};
}

inline std::vector<float> numbers_of(const core::TensorView& view) {
  std::vector<float> numbers(static_cast<size_t>(view.elements()));
  codec::codec_of(*view.format)->decode(view.data, view.elements(), numbers.data());
  return numbers;
}

inline format::ModelFiles opened(const std::filesystem::path& path) {
  auto files = format::ModelFiles::open(path);
  if (!files) throw std::runtime_error(files.error().text());
  return std::move(*files);
}

/// The tensor of that name, or of that name under a prefix such as "bert.".
inline const core::TensorView* find_tensor(const format::ModelFiles& files, std::string_view name) {
  if (const core::TensorView* found = files.find(name)) return found;
  for (const format::NamedTensor& tensor : files.tensors()) {
    if (tensor.name.ends_with("." + std::string(name)) || name.ends_with("." + std::string(tensor.name)))
      return files.find(tensor.name);
  }
  return nullptr;
}

inline bool has_codec(const core::TensorView& view) {
  return codec::codec_of(*view.format) != nullptr;
}

/// Every tensor of `wanted` is in `found`, with the same shape and numbers.
inline void expect_numbers(const format::ModelFiles& found, const format::ModelFiles& wanted) {
  for (const format::NamedTensor& tensor : wanted.tensors()) {
    const core::TensorView* own = find_tensor(found, tensor.name);
    ASSERT_NE(own, nullptr) << tensor.name;
    EXPECT_EQ(own->shape, tensor.view.shape) << tensor.name;
    if (has_codec(tensor.view)) {
      EXPECT_EQ(numbers_of(*own), numbers_of(tensor.view)) << tensor.name;
    }
  }
}

/// Every tensor with the same format and bytes, and no other.
inline void expect_bytes(const format::ModelFiles& found, const format::ModelFiles& wanted) {
  EXPECT_EQ(found.tensors().size(), wanted.tensors().size());
  for (const format::NamedTensor& tensor : wanted.tensors()) {
    const core::TensorView* own = find_tensor(found, tensor.name);
    ASSERT_NE(own, nullptr) << tensor.name;
    EXPECT_EQ(own->format, tensor.view.format) << tensor.name;
    EXPECT_EQ(own->shape, tensor.view.shape) << tensor.name;
    EXPECT_EQ(std::memcmp(own->data, tensor.view.data, static_cast<size_t>(own->bytes())), 0) << tensor.name;
  }
}

/// A golden model's folder has its weights twice, in both containers; a copy with those of the folder alone.
inline std::filesystem::path folder_alone(const std::filesystem::path& golden, const app::TemporaryFolder& temporary) {
  const std::filesystem::path folder = temporary.path() / (golden.filename().string() + "-folder");
  std::filesystem::create_directory(folder);
  for (const char* file : {"config.json", "model.safetensors"}) std::filesystem::copy(golden / file, folder / file);
  return folder;
}

/// The streams after every layer and the logits of a golden model's text, one after another.
inline std::vector<float> outcome_of(const std::filesystem::path& path, const std::filesystem::path& golden) {
  std::vector<int32_t> tokens;
  std::vector<int32_t> types;
  if (std::filesystem::exists(golden / "tokens.npy")) {
    tokens = run::read_npy<int32_t>(golden / "tokens.npy", "<i4");
    types.resize(tokens.size());
  } else {
    const nlohmann::json text = run::read_json(golden / "texts.json").at(0);
    tokens = text.at("tokens").get<std::vector<int32_t>>();
    types = text.at("types").get<std::vector<int32_t>>();
  }
  constexpr int64_t kContext = 24;  // that tiny encoders have learned
  // A container may order a head's numbers otherwise: rounded activations would make more of that than it is.
  run::ModelRun run = run::ModelRun::open(path, {.exact = true, .context = std::max(kContext, std::ssize(tokens))});
  const layers::Head& head = run.model->head();
  run::KeepStreams streams;
  run.runner->set_hook(&streams);
  const cache::SequenceId sequence = run.runner->open().value();
  std::vector<run::BatchRow> rows;
  size_t wanted = 0;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const bool wants = head.outputs() > 0 && (!head.labels() || i == 0);
    wanted += wants ? 1 : 0;
    rows.push_back({.token = tokens[i], .sequence = sequence, .wants_logits = wants, .type = types[i]});
  }
  std::vector<float> logits(wanted * static_cast<size_t>(head.outputs()));
  if (const auto status = run.runner->step(rows, logits); !status) throw std::runtime_error(status.error().text());
  std::vector<float> all = std::move(logits);
  for (const auto& stream : streams.streams) all.insert(all.end(), stream.begin(), stream.end());
  return all;
}

}  // namespace lamina::compress
