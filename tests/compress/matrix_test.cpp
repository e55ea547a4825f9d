// Every golden model there and back again: what a container can say comes back with the same bits.
#include <gmock/gmock.h>

#include <map>

#include "compress/conversions.h"
#include "support/source_dir.h"

namespace lamina::compress {
namespace {

namespace fs = std::filesystem;
using app::TemporaryFolder;
using testing::HasSubstr;

fs::path golden_root() {
  return source_dir() / "tests/golden";
}

/// "models/gqa", "encoders/bert", ...: the golden models that have this file.
std::vector<std::string> models_with(const std::string& file) {
  std::vector<std::string> names;
  for (const char* kind : {"models", "encoders", "encdec"}) {
    for (const auto& entry : fs::directory_iterator(golden_root() / kind)) {
      if (fs::exists(entry.path() / file)) names.push_back(kind + ("/" + entry.path().filename().string()));
    }
  }
  std::ranges::sort(names);
  return names;
}

/// Folders that no GGUF file of their family can say, and words of the error.
const std::map<std::string, std::string>& refused_folders() {
  static const std::map<std::string, std::string> all{
      {"models/gemma2_scalar", "scale"},
      {"models/gpt2_scaled", "scale"},
      {"models/mamba2_limits", "limits"},
      {"models/mistral", "window"},
      {"models/qwen2_window", "window"},
      {"models/qwen2moe_mixed", "layer 0"},
      {"models/deepseek_v3_half", "kv_norm: epsilon"},
      {"models/gpt_oss", "truncate"},
      {"models/smollm3_window", "window"},
      {"encoders/albert_classifier", "albert cannot be written"},
      {"encoders/albert_masked_lm", "albert cannot be written"},
      {"encoders/bert_masked_lm", "head"},
      {"encoders/distilbert_classifier", "head"},
      {"encoders/distilbert_masked_lm", "head"},
      {"encoders/modernbert_masked_lm", "head"},
      {"encoders/mpnet", "mpnet cannot be written"},
      {"encoders/mpnet_classifier", "mpnet cannot be written"},
      {"encoders/mpnet_masked_lm", "mpnet cannot be written"},
      {"encoders/nomic_bert_classifier", "head"},
      {"encoders/nomic_bert_masked_lm", "head"},
      {"encoders/roberta_masked_lm", "head"},
      {"encoders/modernbert_biased", "layer 0"},
      {"encoders/modernbert_classifier_cls", "layer 0"},
      {"encoders/t5_encoder", "distance"},
      {"encdec/t5_near", "distance"},
      {"encdec/whisper", "whisper cannot be written"},
      {"encdec/whisper_wide", "whisper cannot be written"},
  };
  return all;
}

/// Folders in a form of which several mean one: a bare encoder's pooler and rows of positions that nothing reads are
/// left out, and GGUF files say a wider family.
bool changes_form(const std::string& name) {
  return name == "encoders/bert" || name.contains("roberta") || name.contains("distilbert") ||
         name.contains("nomic_bert_hub");
}

/// A container that keeps a number as a function of itself loses its last bit.
bool rounds(const std::string& name) {
  return name == "models/mamba2" || name == "models/deepseek_v2";
}

/// GGUF files in an older form: queries, keys and values fused, keys and values of latent attention in one tensor.
bool is_older(const std::string& name) {
  return name == "encoders/nomic_bert_hub" || name == "models/deepseek_v2_lite";
}

class FolderMatrix : public testing::TestWithParam<std::string> {};

TEST_P(FolderMatrix, ComesBackFromGguf) {
  const TemporaryFolder temporary;
  const fs::path golden = golden_root() / GetParam();
  const fs::path folder = folder_alone(golden, temporary);
  const fs::path gguf = temporary.path() / "out.gguf";
  if (const auto refused = refused_folders().find(GetParam()); refused != refused_folders().end()) {
    const auto report = write(folder, gguf);
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code, core::ErrorCode::kUnsupported);
    EXPECT_THAT(report.error().text(), HasSubstr(refused->second));
    EXPECT_EQ(std::distance(fs::directory_iterator(temporary.path()), {}), 1) << "nothing is left of the failure";
    return;
  }
  written(folder, gguf);
  const bool runs = !GetParam().starts_with("encdec");
  if (runs) {
    EXPECT_LT(run::relative_error(outcome_of(gguf, golden), outcome_of(folder, golden)), 2e-5);
  }
  if (changes_form(GetParam())) return;
  const fs::path again = temporary.path() / "again";
  written(gguf, again);
  if (rounds(GetParam())) {
    EXPECT_LT(run::relative_error(outcome_of(again, golden), outcome_of(folder, golden)), 2e-6);
    return;
  }
  expect_numbers(opened(again), opened(folder));
  EXPECT_EQ(opened(again).tensors().size(), opened(folder).tensors().size());
  if (runs) {
    EXPECT_EQ(outcome_of(again, golden), outcome_of(folder, golden));
  }
}

INSTANTIATE_TEST_SUITE_P(All, FolderMatrix, testing::ValuesIn(models_with("model.safetensors")), [](const auto& info) {
  std::string name = info.param;
  std::ranges::replace(name, '/', '_');
  return name;
});

class GgufMatrix : public testing::TestWithParam<std::string> {};

TEST_P(GgufMatrix, ComesBackFromAFolder) {
  const TemporaryFolder temporary;
  const fs::path golden = golden_root() / GetParam();
  const fs::path first = golden / "model.gguf";
  const fs::path folder = temporary.path() / "folder";
  const fs::path again = temporary.path() / "again.gguf";
  written(first, folder);
  written(folder, again);
  const bool exact = !rounds(GetParam()) && !is_older(GetParam());
  if (exact) expect_bytes(opened(again), opened(first));
  if (GetParam().starts_with("encdec")) return;
  const std::vector<float> wanted = outcome_of(first, golden);
  EXPECT_LT(run::relative_error(outcome_of(folder, golden), wanted), 2e-5);
  const std::vector<float> found = outcome_of(again, golden);
  EXPECT_LT(run::relative_error(found, wanted), 2e-6);
  if (exact) {
    EXPECT_EQ(found, wanted);
  }
}

INSTANTIATE_TEST_SUITE_P(All, GgufMatrix, testing::ValuesIn(models_with("model.gguf")), [](const auto& info) {
  std::string name = info.param;
  std::ranges::replace(name, '/', '_');
  return name;
});

}  // namespace
}  // namespace lamina::compress
