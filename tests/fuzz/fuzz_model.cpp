// Golden models with changed configurations: config.json with fields set to hard values, or a GGUF file with bytes of
// its header overwritten. Each must give an error or a model that runs.
#include <fuzzer/FuzzedDataProvider.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "models/model.h"
#include "models/vocabulary.h"
#include "recipe/recipe.h"
#include "run/runner.h"
#include "support/source_dir.h"

namespace {

using namespace lamina;
using nlohmann::json;
namespace fs = std::filesystem;

constexpr int64_t kContext = 32;
constexpr int64_t kMostBytes = int64_t{256} << 20;

struct Folder {
  fs::path path;
  json config;
};

/// What every input starts from, read once.
struct Seeds {
  std::vector<Folder> folders;
  std::vector<std::string> files;  ///< GGUF files, whole
  std::vector<std::string> keys;
  std::vector<json> values;
  fs::path place;
};

fs::path work_folder() {
  return fs::temp_directory_path() / ("lamina-fuzz-" + std::to_string(getpid()));
}

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void collect(const json& node, std::set<std::string>& keys, std::set<json>& values) {
  for (const auto& [key, value] : node.items()) {
    keys.insert(key);
    if (value.is_object()) collect(value, keys, values);
    values.insert(value);
  }
}

Seeds make_seeds() {
  Seeds seeds;
  std::set<std::string> keys;
  std::set<json> values{0,
                        1,
                        -1,
                        2,
                        3,
                        7,
                        1 << 16,
                        int64_t{1} << 31,
                        int64_t{1} << 53,
                        INT64_MIN,
                        UINT64_MAX,
                        0.5,
                        1e-30,
                        1e300,
                        -1e300,
                        "",
                        "none",
                        "yarn",
                        "llama3",
                        true,
                        false,
                        nullptr,
                        json::array(),
                        json::object(),
                        json::array({1, -1, 1e30}),
                        json(std::vector<int>(600, 1))};
  for (const char* kind : {"models", "encoders"}) {
    std::vector<fs::path> paths;
    for (const auto& entry : fs::directory_iterator(lamina::source_dir() / "tests/golden" / kind))
      paths.push_back(entry.path());
    std::ranges::sort(paths);
    for (const fs::path& path : paths) {
      if (fs::exists(path / "model.gguf")) seeds.files.push_back(read(path / "model.gguf"));
      if (!fs::exists(path / "model.safetensors")) continue;
      seeds.folders.push_back({path, json::parse(read(path / "config.json"))});
      collect(seeds.folders.back().config, keys, values);
    }
  }
  seeds.keys.assign(keys.begin(), keys.end());
  seeds.values.assign(values.begin(), values.end());
  seeds.place = work_folder();
  fs::create_directories(seeds.place);
  std::atexit([] { fs::remove_all(work_folder()); });
  return seeds;
}

const Seeds& seeds() {
  static const Seeds all = make_seeds();
  return all;
}

void edit(json& config, FuzzedDataProvider& input) {
  for (int edits = input.ConsumeIntegralInRange(1, 6); edits > 0; --edits) {
    json* node = &config;
    const std::string& key = seeds().keys[input.ConsumeIntegralInRange<size_t>(0, seeds().keys.size() - 1)];
    for (auto& [name, child] : config.items()) {
      if (child.is_object() && child.contains(key)) node = &child;
    }
    switch (input.ConsumeIntegralInRange(0, 3)) {
      case 0:
        node->erase(key);
        break;
      case 1:
        (*node)[key] = input.ConsumeIntegral<int8_t>();
        break;
      case 2:
        (*node)[key] = input.ConsumeIntegral<int64_t>();
        break;
      default:
        (*node)[key] = seeds().values[input.ConsumeIntegralInRange<size_t>(0, seeds().values.size() - 1)];
        break;
    }
  }
}

fs::path write_folder(FuzzedDataProvider& input) {
  const auto& folders = seeds().folders;
  const Folder& chosen = folders[input.ConsumeIntegralInRange<size_t>(0, folders.size() - 1)];
  json config = chosen.config;
  edit(config, input);
  const fs::path weights = seeds().place / "model.safetensors";
  fs::remove(weights);
  fs::create_symlink(chosen.path / "model.safetensors", weights);
  std::ofstream(seeds().place / "config.json") << config.dump(-1, ' ', false, json::error_handler_t::replace);
  return seeds().place;
}

fs::path write_file(FuzzedDataProvider& input) {
  constexpr size_t kHeader = 16384;
  std::string bytes = seeds().files[input.ConsumeIntegralInRange<size_t>(0, seeds().files.size() - 1)];
  for (int edits = input.ConsumeIntegralInRange(1, 6); edits > 0; --edits) {
    const auto at = input.ConsumeIntegralInRange<size_t>(0, std::min(bytes.size(), kHeader) - 9);
    const std::string with = input.ConsumeRandomLengthString(8);
    bytes.replace(at, with.size(), with);
  }
  const fs::path path = seeds().place / "model.gguf";
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}

void build_and_step(const fs::path& path) {
  static core::ThreadPool pool(1);
  auto model = models::Model::build(path, {.exact = false});
  if (!model) return;
  (void)models::load_tokenizer((*model)->files());
  const auto plan = recipe::plan(*recipe::parse(""), {.layers = static_cast<int>((*model)->layers().size()),
                                                      .key_value_cache = (*model)->keeps_keys(),
                                                      .sublayers = {},
                                                      .route = (*model)->route()});
  if (!plan) return;
  const run::RunnerOptions options{.plan = *plan, .context = kContext, .sequences = 1, .max_rows = 8};
  const auto memory = run::Runner::plan_memory(**model, pool, options);
  if (!memory || memory->cache.total() + memory->workspace + (*model)->weight_bytes() > kMostBytes) return;
  if (!(*model)->load(pool, {})) return;
  const auto runner = run::Runner::create(**model, pool, options);
  if (!runner) return;
  const auto sequence = (*runner)->open();
  if (!sequence) return;
  const bool wants = (*model)->head().outputs() > 0;
  std::vector<run::BatchRow> rows(3, {.token = 1, .sequence = *sequence, .wants_logits = wants});
  std::vector<float> logits(3 * static_cast<size_t>((*model)->head().outputs()));
  (void)(*runner)->step(rows, logits);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzedDataProvider input(data, size);
  build_and_step(input.ConsumeIntegralInRange(0, 2) == 0 ? write_file(input) : write_folder(input));
  return 0;
}
