// Files that are wrong: each is an error that says what and where, and nothing is written.
#include <gmock/gmock.h>
#include <sys/resource.h>

#include <csignal>
#include <functional>

#include "compress/conversions.h"
#include "format/gguf_writer.h"
#include "format/safetensors_types.h"
#include "format/safetensors_writer.h"

namespace lamina::compress {
namespace {

namespace fs = std::filesystem;
using app::TemporaryFolder;
using nlohmann::json;
using run::golden_folder;
using testing::AllOf;
using testing::HasSubstr;

/// A golden model's folder, changed; what compress says of it.
class Broken {
 public:
  explicit Broken(const std::string& golden) : folder_(folder_alone(golden_folder() / golden, temporary_)) {}

  const fs::path& folder() const { return folder_; }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }
  void change_config(const std::function<void(json&)>& change) const {
    json config = run::read_json(folder_ / "config.json");
    change(config);
    write("config.json", config.dump());
  }
  /// Writes the weights again; `change` may replace a tensor's view or leave it out (null format).
  void change_tensors(const std::function<void(const std::string&, core::TensorView&)>& change) const {
    format::SafetensorsWriter writer;
    const format::ModelFiles files = opened(folder_);
    for (const format::NamedTensor& tensor : files.tensors()) {
      core::TensorView view = tensor.view;
      change(std::string(tensor.name), view);
      if (view.format == nullptr) continue;
      ASSERT_TRUE(writer.add_tensor(tensor.name, view));
    }
    ASSERT_TRUE(writer.write(temporary_.path() / "new.safetensors"));
    fs::rename(temporary_.path() / "new.safetensors", folder_ / "model.safetensors");
  }
  std::string error(const std::string& out = "out.gguf") const {
    const auto report = compress::write(folder_, temporary_.path() / out);
    EXPECT_FALSE(fs::exists(temporary_.path() / out));
    EXPECT_EQ(std::distance(fs::directory_iterator(temporary_.path()), {}), 1) << "nothing is left";
    return report ? "" : report.error().text();
  }

 private:
  TemporaryFolder temporary_;
  fs::path folder_;
};

TEST(BadInput, ConfigurationsThatContradictTheTensors) {
  const auto with = [](const std::string& golden, const char* key, const json& value) {
    const Broken model(golden);
    model.change_config([&](json& config) { config[key] = value; });
    return model.error();
  };
  EXPECT_THAT(with("gqa", "hidden_size", 64), HasSubstr("expected"));
  EXPECT_THAT(with("gqa", "num_hidden_layers", 9), HasSubstr("is missing"));
  EXPECT_THAT(with("gqa", "num_hidden_layers", 1), HasSubstr("has no place"));
  EXPECT_THAT(with("gqa", "num_hidden_layers", 100000), HasSubstr("1 to 4096 expected"));
  EXPECT_THAT(with("gqa", "num_key_value_heads", 3), HasSubstr("expected"));
  EXPECT_THAT(with("gqa", "vocab_size", 7), HasSubstr("7 tokens"));
  EXPECT_THAT(with("gqa", "num_attention_heads", "many"), HasSubstr("needs two numbers"));
  EXPECT_THAT(with("gqa", "hidden_size", -40), HasSubstr("is not a number"));
  EXPECT_THAT(with("gqa", "hidden_size", 1e300), HasSubstr("expected"));
  EXPECT_THAT(with("gqa", "architectures", json::array({"NoSuchModel"})), HasSubstr("NoSuchModel"));
  EXPECT_NE(with("qwen3moe", "num_experts", int64_t{1} << 31), "");
  EXPECT_NE(with("qwen3moe", "num_experts", (int64_t{1} << 31) - 1), "");
  EXPECT_NE(with("qwen3moe", "num_experts_per_tok", int64_t{1} << 31), "");
  EXPECT_NE(with("deepseek_v3", "n_routed_experts", int64_t{1} << 31), "");
  EXPECT_NE(with("gpt_oss", "num_local_experts", int64_t{1} << 31), "");
}

TEST(BadInput, GgufFilesWhoseExpertsCannotBeCounted) {
  const TemporaryFolder temporary;
  const auto gguf = format::Gguf::open(golden_folder() / "qwen3moe" / "model.gguf");
  ASSERT_TRUE(gguf);
  for (const uint32_t experts : {uint32_t{1} << 31, UINT32_MAX, uint32_t{1} << 30}) {
    format::GgufWriter writer;
    writer.copy_metadata(*gguf);
    writer.set("qwen3moe.expert_count", experts);
    for (const format::NamedTensor& tensor : gguf->tensors()) ASSERT_TRUE(writer.add_tensor(tensor.name, tensor.view));
    ASSERT_TRUE(writer.write(temporary.path() / "m.gguf"));
    EXPECT_FALSE(write(temporary.path() / "m.gguf", temporary.path() / "out"));
    EXPECT_FALSE(fs::exists(temporary.path() / "out"));
    fs::remove(temporary.path() / "m.gguf");
  }
}

TEST(BadInput, JsonThatSaysTwoThingsOrIsTooDeep) {
  const Broken twice("gqa");
  twice.write("config.json", R"({"model_type": "llama", "hidden_size": 1, "hidden_size": 2})");
  EXPECT_THAT(twice.error(), HasSubstr("\"hidden_size\" appears twice"));
  const Broken deep("gqa");
  deep.write("config.json", R"({"a": )" + std::string(100000, '[') + std::string(100000, ']') + "}");
  EXPECT_THAT(deep.error(), HasSubstr("deep"));
  const Broken unfinished("gqa");
  unfinished.write("config.json", std::string(100000, '{'));
  EXPECT_THAT(unfinished.error(), HasSubstr("config.json"));
}

std::string entry(const char* dtype, const std::string& shape, const std::string& offsets) {
  return fmt::format(R"({{"dtype":"{}","shape":{},"data_offsets":{}}})", dtype, shape, offsets);
}

/// A safetensors file with that header and so many bytes of data.
std::string file_with(const std::string& header, size_t data) {
  const uint64_t size = header.size();
  return std::string(reinterpret_cast<const char*>(&size), 8) + header + std::string(data, '\0');
}

TEST(BadInput, RangesShapesAndTypesOfTensors) {
  const auto with = [](const std::string& header, size_t data) {
    const Broken model("gqa");
    model.write("model.safetensors", file_with(header, data));
    return model.error();
  };
  const auto two = [&](const char* first, const char* second) {
    return with("{\"a\":" + entry("U8", "[4]", first) + ",\"b\":" + entry("U8", "[4]", second) + "}", 8);
  };
  EXPECT_THAT(two("[0,4]", "[2,6]"), HasSubstr("overlaps"));
  EXPECT_THAT(two("[0,4]", "[4,9]"), HasSubstr("tensor b"));
  EXPECT_THAT(two("[0,4]", "[8,12]"), HasSubstr("tensor b"));
  const std::string ten = "[1,1,1,1,1,1,1,1,1,8]";
  EXPECT_THAT(with("{\"a\":" + entry("U8", ten, "[0,8]") + "}", 8), HasSubstr("10 dimensions"));
  EXPECT_THAT(with("{\"a\":" + entry("F7", "[8]", "[0,8]") + "}", 8), HasSubstr("F7"));
  EXPECT_NE(with("{\"a\":" + entry("F32", "[0]", "[0,0]") + "}", 0), "");
}

TEST(BadInput, DtypesThatAreNoWeights) {
  const std::string name = "model.layers.1.mlp.up_proj.weight";
  for (const char* dtype : {"I64", "I32", "BOOL", "U8"}) {
    const Broken model("gqa");
    std::vector<std::byte> zeros;
    model.change_tensors([&](const std::string& tensor, core::TensorView& view) {
      if (tensor != name) return;
      view.format = format::safetensors_format(dtype);
      zeros.resize(static_cast<size_t>(view.bytes()));
      view.data = zeros.data();
    });
    EXPECT_THAT(model.error(), AllOf(HasSubstr(name), HasSubstr("no codec decodes"))) << dtype;
  }
}

// Numbers of other widths are weights like any: they come over exactly, or are named where the container lacks them.
TEST(BadInput, WideAndNarrowFloatsAreExactOrNamed) {
  const std::string name = "model.layers.1.mlp.up_proj.weight";
  for (const char* dtype : {"F8_E4M3", "F8_E5M2", "F16"}) {
    const TemporaryFolder temporary;
    const Broken model("gqa");
    std::vector<std::byte> bytes;
    model.change_tensors([&](const std::string& tensor, core::TensorView& view) {
      if (tensor != name) return;
      const std::vector<float> numbers = numbers_of(view);
      view.format = format::safetensors_format(dtype);
      bytes.resize(static_cast<size_t>(view.bytes()));
      codec::codec_of(*view.format)->encode(numbers.data(), std::ssize(numbers), bytes.data());
      view.data = bytes.data();
    });
    const auto report = write(model.folder(), temporary.path() / "out.gguf");
    if (!report) {
      EXPECT_THAT(report.error().text(), HasSubstr("GGUF has no type for")) << dtype;
      EXPECT_TRUE(fs::is_empty(temporary.path()));
      const auto floats = write(model.folder(), temporary.path() / "out.gguf", "L*:f16");
      EXPECT_TRUE(floats) << dtype << ": " << floats.error().text();
      continue;
    }
    EXPECT_EQ(numbers_of(*opened(temporary.path() / "out.gguf").find("blk.1.ffn_up.weight")),
              numbers_of(*opened(model.folder()).find(name)))
        << dtype;
  }
}

TEST(BadInput, MissingShardsAndParts) {
  const TemporaryFolder temporary;
  const fs::path first = golden_folder() / "gqa" / "model.gguf";
  const CompressReport parts = written(first, temporary.path() / "parts.gguf", "", 60000);
  ASSERT_GT(parts.files.size(), 2U);
  fs::remove(parts.files[1]);
  const auto gguf = write(parts.files[0], temporary.path() / "out");
  ASSERT_FALSE(gguf);
  EXPECT_THAT(gguf.error().text(), HasSubstr(fs::path(parts.files[1]).filename().string()));
  written(first, temporary.path() / "shards", "", 60000);
  for (const auto& entry : fs::directory_iterator(temporary.path() / "shards")) {
    if (entry.path().filename().string().starts_with("model-00002-of-")) fs::remove(entry.path());
  }
  const auto folder = write(temporary.path() / "shards", temporary.path() / "out.gguf");
  ASSERT_FALSE(folder);
  EXPECT_THAT(folder.error().text(), HasSubstr("model-00002-of-0000"));
}

TEST(BadInput, TokenizersThatDoNotMatchTheVocabulary) {
  const Broken many("gqa");
  many.write("tokenizer.json", R"({"version":"1.0","added_tokens":[{"id":5000,"content":"<x>","special":true}],
    "normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},"post_processor":null,
    "decoder":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":[]}})");
  EXPECT_THAT(many.error(), HasSubstr("rows"));
  const Broken model_only("gqa");
  model_only.write("tokenizer.model", "\n\x0b");
  EXPECT_THAT(model_only.error(), HasSubstr("tokenizer.model"));
}

TEST(BadInput, Pickles) {
  const Broken model("gqa");
  fs::rename(model.folder() / "model.safetensors", model.folder() / "pytorch_model.bin");
  EXPECT_THAT(model.error(), AllOf(HasSubstr("pytorch_model.bin, a pickle"), HasSubstr("model.safetensors")));
}

TEST(Output, NeverReplacesThePartsThatAreRead) {
  const TemporaryFolder temporary;
  const fs::path first = golden_folder() / "gqa" / "model.gguf";
  const CompressReport parts = written(first, temporary.path() / "m.gguf", "", 60000);
  const auto report = write(parts.files[0], temporary.path() / "m.gguf", "", 0, true);
  ASSERT_FALSE(report);
  EXPECT_THAT(report.error().text(), HasSubstr("parts of the model that is read"));
  for (const std::string& file : parts.files) EXPECT_TRUE(fs::exists(file));
}

/// As on a full disk: files of this process cannot grow beyond so many bytes.
class SmallFiles {
 public:
  explicit SmallFiles(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{.rlim_cur = bytes, .rlim_max = before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  SmallFiles(const SmallFiles&) = delete;
  SmallFiles& operator=(const SmallFiles&) = delete;
  ~SmallFiles() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  void (*handler_)(int);
  rlimit before_{};
};

TEST(Output, AFullDiskIsAnErrorAndLeavesNothing) {
  const TemporaryFolder temporary;
  const fs::path first = golden_folder() / "gqa" / "model.gguf";
  for (const char* out : {"out.gguf", "out"}) {
    std::optional<core::Result<CompressReport>> report;
    {
      const SmallFiles full(20000);
      report = write(first, temporary.path() / out);
    }
    ASSERT_FALSE(*report);
    EXPECT_EQ(report->error().code, core::ErrorCode::kIo);
    EXPECT_THAT(report->error().text(), AllOf(HasSubstr(out), HasSubstr("File too large")));
    EXPECT_TRUE(fs::is_empty(temporary.path()));
  }
}

}  // namespace
}  // namespace lamina::compress
