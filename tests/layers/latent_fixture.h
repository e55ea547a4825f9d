#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "codec/codec.h"
#include "format/gguf_writer.h"
#include "layers/layer.h"

namespace lamina::layers {

struct LatentSizes {
  int64_t hidden = 32;
  int64_t heads = 13;
  int64_t latent = 32;
  int64_t nope = 32;
  int64_t rotary = 6;
  int64_t value = 5;
  int64_t query_rank = 0;
  bool split = false;         ///< the parts of kv_b are two tensors
  std::string codec = "f32";  ///< of kv_b or of its parts
};

/// A GGUF file with the random weights of one layer, and what its tensors hold.
class LatentFile {
 public:
  explicit LatentFile(const LatentSizes& sizes) : sizes_(sizes), random_(7) {
    add("norm", {sizes.hidden}, "f32", 1);
    add("kv_norm", {sizes.latent}, "f32", 1);
    add("kv_a", {sizes.latent + sizes.rotary, sizes.hidden}, "f32", 1.5F);
    const int64_t inputs = sizes.query_rank > 0 ? sizes.query_rank : sizes.hidden;
    if (sizes.query_rank > 0) {
      add("q_a", {sizes.query_rank, sizes.hidden}, "f32", 1);
      add("q_norm", {sizes.query_rank}, "f32", 1);
    }
    add("q", {sizes.heads * (sizes.nope + sizes.rotary), inputs}, "f32", 2);
    add("o", {sizes.hidden, sizes.heads * sizes.value}, "f32", 1);
    if (sizes.split) {
      add("k_b", {sizes.heads, sizes.latent, sizes.nope}, sizes.codec, 1);
      add("v_b", {sizes.heads, sizes.value, sizes.latent}, sizes.codec, 1);
    } else {
      add("kv_b", {sizes.heads * (sizes.nope + sizes.value), sizes.latent}, sizes.codec, 1);
    }
    path_ = std::filesystem::path(testing::TempDir()) /
            (std::string("latent_") + testing::UnitTest::GetInstance()->current_test_info()->name() + ".gguf");
    EXPECT_TRUE(writer_.write(path_));
  }
  ~LatentFile() { std::filesystem::remove(path_); }

  const std::filesystem::path& path() const { return path_; }
  const std::vector<float>& numbers(const std::string& name) const { return numbers_.at(name); }
  const LatentSizes& sizes() const { return sizes_; }

  double key_weight(int64_t head, int64_t i, int64_t latent) const {
    const LatentSizes& s = sizes_;
    return sizes_.split ? at("k_b", (head * s.latent + latent) * s.nope + i)
                        : at("kv_b", (head * (s.nope + s.value) + i) * s.latent + latent);
  }
  double value_weight(int64_t head, int64_t i, int64_t latent) const {
    const LatentSizes& s = sizes_;
    return sizes_.split ? at("v_b", (head * s.value + i) * s.latent + latent)
                        : at("kv_b", (head * (s.nope + s.value) + s.nope + i) * s.latent + latent);
  }
  double at(const std::string& name, int64_t index) const { return numbers_.at(name)[static_cast<size_t>(index)]; }

  nlohmann::json record() const {
    const auto norm = [](const char* name) {
      return nlohmann::json{{"kind", "rms"}, {"epsilon", 1e-6}, {"weight", name}};
    };
    const auto matrix = [](const char* name) { return nlohmann::json{{"weight", name}}; };
    nlohmann::json record{{"hidden", sizes_.hidden},
                          {"heads", sizes_.heads},
                          {"latent", sizes_.latent},
                          {"nope", sizes_.nope},
                          {"rotary", sizes_.rotary},
                          {"value_size", sizes_.value},
                          {"query_rank", sizes_.query_rank},
                          {"scale", scale()},
                          {"norm", norm("norm")},
                          {"q", matrix("q")},
                          {"kv_a", matrix("kv_a")},
                          {"kv_norm", norm("kv_norm")},
                          {"kv_b", {{"weight", "kv_b"}, {"keys", matrix("k_b")}, {"values", matrix("v_b")}}},
                          {"o", matrix("o")}};
    if (sizes_.query_rank > 0) {
      record["q_a"] = matrix("q_a");
      record["q_norm"] = norm("q_norm");
    }
    record["rope"] = {{"ordering", "interleaved"},
                      {"dims", sizes_.rotary},
                      {"kind", "default"},
                      {"base", 100},
                      {"factor", 1},
                      {"beta_fast", 32},
                      {"beta_slow", 1},
                      {"low_frequency", 1},
                      {"high_frequency", 4},
                      {"original_context", 64}};
    return record;
  }
  double scale() const { return 1 / std::sqrt(static_cast<double>(sizes_.nope + sizes_.rotary)); }

 private:
  void add(const std::string& name, const std::vector<int64_t>& shape, const std::string& codec_name, float gain) {
    const codec::Codec& codec = *codec::find_codec(codec_name);
    int64_t count = 1;
    for (const int64_t size : shape) count *= size;
    const float spread = shape.size() == 1 ? 0.2F : gain / std::sqrt(static_cast<float>(shape.back()));
    std::normal_distribution<float> normal(shape.size() == 1 ? 1.0F : 0.0F, spread);
    std::vector<float>& numbers = numbers_[name];
    for (int64_t i = 0; i < count; ++i) numbers.push_back(normal(random_));
    std::vector<std::byte>& bytes = bytes_[name];
    bytes.resize(static_cast<size_t>(codec.format.row_bytes(count)));
    codec.encode(numbers.data(), count, bytes.data());
    codec.decode(bytes.data(), count, numbers.data());
    core::TensorView view;
    view.format = &codec.format;
    view.rank = static_cast<int>(shape.size());
    std::ranges::copy(shape, view.shape.begin());
    view.data = bytes.data();
    EXPECT_TRUE(writer_.add_tensor(name, view));
  }

  LatentSizes sizes_;
  std::mt19937 random_;
  std::map<std::string, std::vector<float>> numbers_;
  std::map<std::string, std::vector<std::byte>> bytes_;
  format::GgufWriter writer_;
  std::filesystem::path path_;
};

/// The layer of a file, ready to run one sequence.
class LatentRun {
 public:
  LatentRun(const LatentFile& file, bool exact, int threads, int64_t positions)
      : pool_(threads), files_(format::ModelFiles::open(file.path()).value()), weights_(files_, exact) {
    const nlohmann::json json = file.record();
    Record record(json, "layer");
    BuildContext context{.weights = weights_, .ropes = ropes_};
    auto made = make_sublayer("latent_attention", record, context);
    if (!made) throw std::runtime_error(made.error().text());
    if (const auto status = record.done(); !status) throw std::runtime_error(status.error().text());
    sublayer_ = std::move(*made);
    if (const auto status = weights_.pack(pool_, {}); !status) throw std::runtime_error(status.error().text());
    const StepLimits limits{.rows = positions, .positions = positions};
    arena_memory_ = core::AlignedBuffer::allocate(static_cast<size_t>(sublayer_->arena_bytes(limits))).value();
    scratch_bytes_ = static_cast<int64_t>(Arena::padded(sublayer_->scratch_bytes(limits)));
    scratch_memory_ = core::AlignedBuffer::allocate(static_cast<size_t>(scratch_bytes_ * threads)).value();
    positions_ = positions;
    hidden_ = file.sizes().hidden;
  }

  const Sublayer& sublayer() const { return *sublayer_; }

  /// The stream after the layer: input [rows, hidden] fed in pieces of these sizes (the last repeats).
  std::vector<float> run(std::vector<float> stream, const std::vector<int64_t>& pieces,
                         kernels::CacheFormat format = kernels::CacheFormat::kF32) {
    core::set_float_mode();
    cache::VisitShape shape = sublayer_->cache_shape();
    shape.format = format;
    auto cache = cache::KvCache::create({.visits = {shape}, .tokens = positions_}).value();
    const cache::SequenceId sequence = cache.open().value();
    const auto rows = static_cast<int64_t>(stream.size()) / hidden_;
    int64_t at = 0;
    for (size_t piece = 0; at < rows; ++piece) {
      const int64_t count = std::min(pieces[std::min(piece, pieces.size() - 1)], rows - at);
      EXPECT_TRUE(cache.reserve(sequence, at + count));
      step(cache, {.sequence = sequence, .first_row = 0, .rows = count, .first_position = at},
           stream.data() + at * hidden_);
      cache.set_length(sequence, at + count);
      at += count;
    }
    return stream;
  }

 private:
  void step(cache::KvCache& cache, const RowGroup& group, float* stream) {
    const kernels::RopeFrequencies rope = kernels::rope_frequencies(ropes_.front()).value();
    const auto half = static_cast<int64_t>(rope.frequencies.size());
    std::vector<float> cosines(static_cast<size_t>(group.rows * half));
    std::vector<float> sines(cosines.size());
    kernels::rope_table(rope, group.first_position, group.rows, cosines.data(), sines.data());
    const std::vector<RopeAngles> angles{{.cosines = cosines.data(), .sines = sines.data(), .half_dims = half}};
    std::vector<std::byte*> scratch;
    for (int i = 0; i < pool_.threads(); ++i) scratch.push_back(scratch_memory_.data() + i * scratch_bytes_);
    Arena arena({arena_memory_.data(), arena_memory_.size()});
    const std::vector<RowGroup> groups{group};
    Step step{.pool = pool_,
              .cache = cache,
              .arena = arena,
              .thread_scratch = scratch,
              .groups = groups,
              .ropes = angles,
              .rows = group.rows,
              .visit = 0};
    sublayer_->forward(step, stream, stream);
  }

  core::ThreadPool pool_;
  format::ModelFiles files_;
  Weights weights_;
  std::vector<kernels::RopeOptions> ropes_;
  std::unique_ptr<Sublayer> sublayer_;
  core::AlignedBuffer arena_memory_;
  core::AlignedBuffer scratch_memory_;
  int64_t scratch_bytes_ = 0;
  int64_t positions_ = 0;
  int64_t hidden_ = 0;
};

}  // namespace lamina::layers
