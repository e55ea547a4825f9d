// Weights that were packed once and are mapped again give the same bits, and what does not fit is refused.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>

#include "format/packed_file.h"
#include "run/model_runs.h"

namespace lamina::run {
namespace {

namespace fs = std::filesystem;
using core::ErrorCode;
using format::PackedFile;

std::string read_all(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write_all(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

std::unique_ptr<models::Model> build(const fs::path& path, const std::string& recipe = "", bool exact = false) {
  auto model = models::Model::build(path, {.exact = exact, .recipe = recipe::parse(recipe).value()});
  EXPECT_TRUE(model) << model.error().text();
  return std::move(*model);
}

class Packed : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("lamina-packed-" + std::to_string(getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path save(const fs::path& model, const std::string& recipe = "", bool exact = false) {
    const fs::path file = folder_ / "weights.packed";
    core::ThreadPool pool(2);
    const auto status = build(model, recipe, exact)->save_packed(file, pool, {});
    EXPECT_TRUE(status) << status.error().text();
    return file;
  }
  /// Loads the file into a model; the error's text, or nothing.
  static std::string load(models::Model& model, const fs::path& file) {
    auto packed = PackedFile::open(file);
    if (!packed) return packed.error().text();
    const auto status = model.load_packed(std::move(*packed));
    return status ? "" : status.error().text();
  }
  fs::path folder_;
};

/// Logits of some tokens after the model's weights were loaded by `load`.
template <typename Load>
std::vector<float> logits(const fs::path& path, const std::string& recipe, bool exact, Load&& load) {
  ModelRun run;
  run.pool = std::make_unique<core::ThreadPool>(2);
  run.model = build(path, recipe, exact);
  load(run);
  const auto plan =
      recipe::plan(recipe::parse("kv:f32").value(), {.layers = static_cast<int>(run.model->layers().size()),
                                                     .key_value_cache = run.model->keeps_keys(),
                                                     .sublayers = sublayers_of(*run.model),
                                                     .route = run.model->route()});
  run.runner = Runner::create(*run.model, *run.pool, {.plan = plan.value(), .context = 64, .max_rows = 64}).value();
  std::vector<int32_t> tokens;
  for (int i = 0; i < 40; ++i) tokens.push_back(static_cast<int32_t>((i * 31 + 5) % run.model->vocabulary()));
  return run.logits(tokens, {64});
}

struct PackedCase {
  const char* model;
  const char* recipe;
  bool exact;
};

class PackedModels : public Packed, public testing::WithParamInterface<PackedCase> {};

TEST_P(PackedModels, GiveTheSameBits) {
  const auto& [name, recipe, exact] = GetParam();
  fs::path path = golden_folder() / name;
  if (fs::exists(path / "model.gguf")) path /= "model.gguf";
  const fs::path file = save(path, recipe, exact);
  const auto wanted = logits(path, recipe, exact, [](ModelRun& run) { ASSERT_TRUE(run.model->load(*run.pool, {})); });
  const auto found = logits(path, recipe, exact, [&](ModelRun& run) { ASSERT_EQ(load(*run.model, file), ""); });
  ASSERT_EQ(found.size(), wanted.size());
  EXPECT_EQ(std::memcmp(found.data(), wanted.data(), found.size() * sizeof(float)), 0);
  core::ThreadPool pool(2);
  EXPECT_TRUE(PackedFile::open(file)->verify(pool));
}

// Every codec in blocks and as decoded rows; stacks of experts, one with scales apart; rows of fused tensors; turned
// tensors; parts of latent heads; matrices and table in another format than the file's; input by input.
INSTANTIATE_TEST_SUITE_P(Models, PackedModels,
                         testing::Values(PackedCase{"codec", "", false}, PackedCase{"codec", "", true},
                                         PackedCase{"qwen2moe", "", false}, PackedCase{"gpt_oss_mxfp4", "", false},
                                         PackedCase{"phi3", "", false}, PackedCase{"gpt2", "", false},
                                         PackedCase{"deepseek_v3", "", false},
                                         PackedCase{"gqa", "L*:q8_0 embed:q4_0", false},
                                         PackedCase{"codec", "L*:rsparse(share=0.3)", false}),
                         [](const auto& info) { return info.param.model + std::to_string(info.index); });

TEST_F(Packed, WhatIsDamagedIsRefused) {
  const fs::path model = golden_folder() / "gqa/model.gguf";
  const fs::path file = save(model);
  const std::string whole = read_all(file);
  const auto said = [&](const std::string& bytes) {
    write_all(file, bytes);
    auto packed = PackedFile::open(file);
    if (packed) return std::string();
    EXPECT_EQ(packed.error().code, ErrorCode::kCorrupt);
    return packed.error().message;
  };
  EXPECT_EQ(said(whole), "");
  for (const size_t size : {size_t{0}, size_t{63}, size_t{64}, whole.size() / 2, whole.size() - 1})
    EXPECT_NE(said(whole.substr(0, size)), "") << size;
  EXPECT_EQ(said(whole + "x"), fmt::format("has {} bytes; {} expected", whole.size() + 1, whole.size()));
  for (size_t at = 0; at < 64; ++at) {
    std::string changed = whole;
    changed[at] = static_cast<char>(changed[at] ^ 4);
    EXPECT_NE(said(changed), "") << at;
  }
  for (size_t at = whole.size() - 500; at < whole.size(); at += 7) {
    std::string changed = whole;
    changed[at] = static_cast<char>(changed[at] ^ 64);
    EXPECT_EQ(said(changed), "its table is damaged") << at;
  }
  // A changed weight is found by those who ask for it.
  std::string changed = whole;
  changed[1000] = static_cast<char>(changed[1000] ^ 1);
  EXPECT_EQ(said(changed), "");
  core::ThreadPool pool(2);
  EXPECT_EQ(PackedFile::open(file)->verify(pool).error().code, ErrorCode::kCorrupt);
}

TEST_F(Packed, WhatBelongsToAnotherFileIsRefused) {
  const fs::path model = folder_ / "model.gguf";
  fs::copy(golden_folder() / "gqa/model.gguf", model);
  const fs::path file = save(model);
  EXPECT_EQ(load(*build(model), file), "");
  const auto before = fs::last_write_time(model);
  fs::last_write_time(model, before + std::chrono::seconds(1));
  EXPECT_NE(load(*build(model), file).find("changed at"), std::string::npos);
  fs::last_write_time(model, before);
  EXPECT_EQ(load(*build(model), file), "");
  // The same name, size and time, other numbers near the beginning.
  std::string bytes = read_all(model);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  write_all(model, bytes);
  fs::last_write_time(model, before);
  EXPECT_NE(load(*build(model), file).find("header"), std::string::npos);
  EXPECT_NE(load(*build(golden_folder() / "gqa/model.gguf"), file), "");
}

TEST_F(Packed, WhatIsLaidOutOtherwiseIsRefused) {
  const fs::path model = golden_folder() / "gqa/model.gguf";
  const fs::path file = save(model);
  EXPECT_NE(load(*build(model, "L1.mlp:q8_0"), file), "");
  EXPECT_NE(load(*build(model, "L1.mlp:rsparse"), file), "");
  EXPECT_NE(load(*build(model, "embed:q8_0"), file).find("matrices"), std::string::npos);
  const fs::path exact = save(golden_folder() / "codec/model.gguf", "", true);
  EXPECT_NE(load(*build(golden_folder() / "codec/model.gguf"), exact), "");
  // The same pieces under the key of a machine whose panels look otherwise.
  const fs::path good = save(model);
  const fs::path other = folder_ / "other.packed";
  const auto packed = PackedFile::open(good);
  for (const bool same : {true, false}) {
    auto writer = format::PackedWriter::create(other);
    for (const auto& piece : packed->pieces()) {
      std::string key(piece.key);
      if (!same && &piece == &packed->pieces()[3]) key.back() = key.back() == '0' ? '1' : '0';
      ASSERT_TRUE(writer->add(key, piece.bytes));
    }
    ASSERT_TRUE(writer->commit(packed->stamp(), packed->source_checksum()));
    EXPECT_EQ(load(*build(model), other).empty(), same);
  }
}

TEST_F(Packed, ARefusedFileLeavesTheModelAsItWas) {
  const fs::path model = golden_folder() / "gqa/model.gguf";
  const fs::path file = save(model, "L*:q8_0");
  const auto wanted = logits(model, "", false, [](ModelRun& run) { ASSERT_TRUE(run.model->load(*run.pool, {})); });
  const auto found = logits(model, "", false, [&](ModelRun& run) {
    ASSERT_NE(load(*run.model, file), "");
    ASSERT_TRUE(run.model->load(*run.pool, {}));
  });
  EXPECT_EQ(found, wanted);
}

TEST_F(Packed, PackingThatIsStoppedLeavesNoFile) {
  const fs::path file = folder_ / "stopped.packed";
  core::ThreadPool pool(1);
  int calls = 0;
  const auto status =
      build(golden_folder() / "gqa/model.gguf")->save_packed(file, pool, [&](int64_t, int64_t) { return ++calls < 3; });
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kCancelled);
  EXPECT_FALSE(fs::exists(file));
}

}  // namespace
}  // namespace lamina::run
