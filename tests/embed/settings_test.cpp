// What the model's files say about embedding texts: every place where they say it, and what is refused.
#include "embed/settings.h"

#include "embed/opened_model.h"

namespace lamina::embed {
namespace {

/// The settings of the tiny encoder with these files beside it.
core::Result<Settings> settings_with(const std::vector<std::pair<std::string, std::string>>& files,
                                     const std::string& model = "encoders/bert") {
  const ModelFolder folder(kGolden / model);
  for (const auto& [name, text] : files) folder.write(name, text);
  const auto built = models::Model::build(folder.path(), {});
  if (!built) throw std::runtime_error(built.error().text());
  return read_settings(**built);
}

std::string refusal(const std::vector<std::pair<std::string, std::string>>& files) {
  const auto settings = settings_with(files);
  return settings ? "accepted" : settings.error().message;
}

std::string modules(const std::vector<std::string>& types) {
  std::string text;
  for (size_t i = 0; i < types.size(); ++i) {
    text += (i == 0 ? "" : ",") + std::string(R"({"idx":)") + std::to_string(i) + R"(,"path":")" +
            (i == 0 ? "" : std::to_string(i) + "_" + types[i]) + R"(","type":"sentence_transformers.models.)" +
            types[i] + "\"}";
  }
  return "[" + text + "]";
}

Pooling pooling_of(const std::string& config) {
  return settings_with({{"modules.json", modules({"Transformer", "Pooling"})}, {"1_Pooling/config.json", config}})
      .value()
      .pooling;
}

TEST(Settings, PoolingIsReadInItsOldAndNewForm) {
  EXPECT_EQ(pooling_of(R"({"pooling_mode_cls_token":true,"pooling_mode_mean_tokens":false})"), Pooling::kCls);
  EXPECT_EQ(pooling_of(R"({"pooling_mode_mean_tokens":true})"), Pooling::kMean);
  EXPECT_EQ(pooling_of(R"({"pooling_mode_max_tokens":true})"), Pooling::kMax);
  EXPECT_EQ(pooling_of(R"({"pooling_mode_mean_sqrt_len_tokens":true})"), Pooling::kMeanSqrt);
  EXPECT_EQ(pooling_of(R"({"pooling_mode_weightedmean_tokens":true})"), Pooling::kWeightedMean);
  EXPECT_EQ(pooling_of(R"({"pooling_mode_lasttoken":true})"), Pooling::kLast);
  EXPECT_EQ(pooling_of(R"({"pooling_mode":"lasttoken"})"), Pooling::kLast);
  EXPECT_EQ(pooling_of(R"({"pooling_mode":["cls"],"pooling_mode_mean_tokens":true})"), Pooling::kCls);
  EXPECT_EQ(pooling_of("{}"), Pooling::kMean);
}

TEST(Settings, WithoutFilesAnEncoderMeansAndADecoderTakesTheLastRow) {
  const Settings encoder = settings_with({}).value();
  EXPECT_EQ(encoder.pooling, Pooling::kMean);
  EXPECT_TRUE(encoder.normalize);
  EXPECT_EQ(encoder.limit, 24);
  EXPECT_EQ(settings_with({}, "embed/decoder").value().pooling, Pooling::kLast);
}

TEST(Settings, AGgufFileNamesItsPooling) {
  const auto model = models::Model::build(kGolden / "encoders/nomic_bert/model.gguf", {});
  ASSERT_TRUE(model);
  EXPECT_EQ(read_settings(**model).value().pooling, Pooling::kCls);
  const auto without = models::Model::build(kGolden / "encoders/bert/model.gguf", {});
  ASSERT_TRUE(without);
  EXPECT_EQ(read_settings(**without).value().pooling, Pooling::kMean);
}

TEST(Settings, NormalizationPromptsAndLimitsAreRead) {
  const std::string listed = modules({"Transformer", "Pooling"});
  const Settings plain = settings_with({{"modules.json", listed}}).value();
  EXPECT_FALSE(plain.normalize);
  EXPECT_TRUE(plain.pools_prompt);
  const Settings full =
      settings_with({{"modules.json", modules({"Transformer", "Pooling", "Dropout", "Normalize"})},
                     {"1_Pooling/config.json", R"({"include_prompt":false})"},
                     {"sentence_bert_config.json", R"({"max_seq_length":12,"do_lower_case":true})"},
                     {"config_sentence_transformers.json",
                      R"({"prompts":{"query":"q: ","document":""},"default_prompt_name":"query","truncate_dim":8})"}})
          .value();
  EXPECT_TRUE(full.normalize);
  EXPECT_FALSE(full.pools_prompt);
  EXPECT_TRUE(full.lower_case);
  EXPECT_EQ(full.limit, 12);
  EXPECT_EQ(full.own_dimensions, 8);
  EXPECT_EQ(full.dimensions, (std::vector<int64_t>{8}));
  EXPECT_EQ(find_prompt(full, "").value(), "q: ");
  EXPECT_EQ(find_prompt(full, "document").value(), "");
  EXPECT_EQ(find_prompt(full, "passage").error().message, "\"passage\" is unknown; document, query expected");
  EXPECT_EQ(find_prompt(plain, "").value(), "");
  EXPECT_EQ(find_prompt(plain, "query").error().message, "\"query\" is unknown; none expected");
}

TEST(Settings, ATokenizerMayTellNoTypes) {
  EXPECT_TRUE(settings_with({}).value().types);
  EXPECT_TRUE(settings_with({{"tokenizer_config.json", R"({"model_input_names":["input_ids","token_type_ids"]})"}})
                  .value()
                  .types);
  EXPECT_FALSE(settings_with({{"tokenizer_config.json", R"({"model_input_names":["input_ids"]})"}}).value().types);
}

TEST(Settings, TheSmallestLimitCounts) {
  EXPECT_EQ(settings_with({{"sentence_bert_config.json", R"({"max_seq_length":512})"}}).value().limit, 24);
  EXPECT_EQ(settings_with({{"tokenizer_config.json", R"({"model_max_length":16})"}}).value().limit, 16);
  EXPECT_EQ(settings_with({{"tokenizer_config.json", R"({"model_max_length":1e30})"}}).value().limit, 24);
  EXPECT_EQ(settings_with({{"sentence_bert_config.json", R"({"max_seq_length":null})"},
                           {"tokenizer_config.json", R"({"model_max_length":16})"}})
                .value()
                .limit,
            16);
}

TEST(Settings, VectorsAreCutOnlyWhereTheModelIsTrainedForIt) {
  Settings settings;
  EXPECT_TRUE(check_dimensions(settings, 32, 0, false));
  EXPECT_TRUE(check_dimensions(settings, 32, 32, false));
  EXPECT_TRUE(check_dimensions(settings, 32, 8, true));
  EXPECT_EQ(check_dimensions(settings, 32, 33, true).error().message, "33; the vectors have 32");
  EXPECT_EQ(check_dimensions(settings, 32, 8, false).error().message,
            "8; the model does not say that the first 8 of 32 numbers stand alone, --force cuts anyway");
  settings.dimensions = {8, 16};
  EXPECT_TRUE(check_dimensions(settings, 32, 8, false));
  EXPECT_FALSE(check_dimensions(settings, 32, 9, false));
  settings.any_dimensions = true;
  EXPECT_TRUE(check_dimensions(settings, 32, 9, false));
}

TEST(Settings, MatryoshkaIsReadFromTheConfiguration) {
  const ModelFolder folder(kGolden / "encoders/bert");
  std::ifstream file(folder.path() / "config.json");
  nlohmann::json config = nlohmann::json::parse(file);
  config["is_matryoshka"] = true;
  config["matryoshka_dimensions"] = {8, 16};
  folder.write("config.json", config.dump());
  const auto model = models::Model::build(folder.path(), {});
  ASSERT_TRUE(model);
  const Settings settings = read_settings(**model).value();
  EXPECT_TRUE(settings.any_dimensions);
  EXPECT_EQ(settings.dimensions, (std::vector<int64_t>{8, 16}));
}

TEST(Settings, RefusesWhatItCannotDo) {
  const auto pooled = [](const std::string& config) {
    return refusal({{"modules.json", modules({"Transformer", "Pooling"})}, {"1_Pooling/config.json", config}});
  };
  EXPECT_EQ(pooled(R"({"pooling_mode":["cls","mean"]})"), "2 pooling modes are on; one expected");
  EXPECT_EQ(pooled(R"({"pooling_mode":"median"})"), "pooling mode \"median\" is unknown");
  EXPECT_EQ(pooled(R"({"pooling_mode":3})"), "\"pooling_mode\" is 3");
  EXPECT_EQ(pooled(R"({"pooling_mode_cls_token":1})"), "\"pooling_mode_cls_token\" is 1");
  EXPECT_EQ(refusal({{"modules.json", modules({"Transformer", "LSTM"})}}),
            "module \"LSTM\" is unknown; Transformer, Pooling, Dense, Dropout or Normalize expected");
  EXPECT_EQ(refusal({{"modules.json", R"([{"type":"x.Pooling","path":"../1_Pooling"}])"}}),
            "path \"../1_Pooling\"; the name of a folder expected");
  EXPECT_EQ(refusal({{"modules.json", modules({"Transformer", "Normalize"})},
                     {"1_Normalize/config.json", R"({"module_input_name":"token_embeddings"})"}}),
            "module_input_name \"token_embeddings\"; sentence_embedding expected");
  EXPECT_EQ(refusal({{"config_sentence_transformers.json", R"({"prompts":{"query":1}})"}}),
            "prompt \"query\" is no text");
}

std::string dense_refusal(const std::string& config, const std::vector<std::string>& before = {"Transformer"}) {
  std::vector<std::string> types = before;
  types.emplace_back("Dense");
  return refusal({{"modules.json", modules(types)}, {std::to_string(before.size()) + "_Dense/config.json", config}});
}

TEST(Settings, RefusesDenseLayersThatItCannotRun) {
  EXPECT_EQ(dense_refusal("{}"), "0 to 0 features; 1 to 65536 expected");
  EXPECT_EQ(dense_refusal(R"({"in_features":4,"out_features":4,"activation_function":"torch.nn.Softsign"})"),
            "activation \"Softsign\" is unknown; one of Identity, Tanh, ReLU, GELU, SiLU, Sigmoid expected");
  EXPECT_EQ(dense_refusal(R"({"in_features":4,"out_features":4,"use_residual":true})"),
            "a dense layer with a residual; one that is neither expected");
  EXPECT_EQ(dense_refusal(R"({"in_features":4,"out_features":4})", {"Transformer", "Normalize"}),
            "a dense layer after a normalization; one that is neither expected");
  EXPECT_EQ(dense_refusal(R"({"in_features":4,"out_features":4,"module_input_name":"token_embeddings"})"),
            "module_input_name \"token_embeddings\"; sentence_embedding expected");
  EXPECT_NE(dense_refusal(R"({"in_features":4,"out_features":4})"), "accepted");
}

}  // namespace
}  // namespace lamina::embed
