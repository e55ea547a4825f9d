#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/clock.h"
#include "lamina/cli.h"
#include "lamina/commands.h"
#include "lamina/packed.h"
#include "lamina/progress.h"
#include "lamina/session.h"
#include "lamina/store.h"
#include "lamina/table.h"

namespace lamina::app {

namespace {

namespace fs = std::filesystem;
using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;
using nlohmann::ordered_json;

struct PackOptions {
  CommonOptions common;
  bool verify = false;
  bool remove = false;
};

/// The path in the first line of a stamp.
std::string source_of(const format::PackedFile& packed) {
  return std::string(packed.stamp().substr(0, packed.stamp().find(": ")));
}

Status list(bool json) {
  Table table({"MODEL", ">BYTES", "FILE"});
  ordered_json rows = ordered_json::array();
  for (const fs::path& path : packed_files()) {
    const auto packed = format::PackedFile::open(path);
    const std::string source = packed ? source_of(*packed) : packed.error().message;
    std::error_code ignored;
    const auto bytes = static_cast<int64_t>(fs::file_size(path, ignored));
    table.add({source, size_text(bytes), path.string()});
    rows.push_back({{"model", source}, {"bytes", bytes}, {"file", path.string()}});
  }
  if (json) {
    print_json({{"packed", std::move(rows)}});
  } else {
    fmt::print("{}", rows.empty() ? "nothing is packed\n" : table.text());
  }
  return {};
}

void print_done(const PackOptions& options, std::string_view what, const fs::path& path, double seconds) {
  std::error_code ignored;
  const auto found = fs::file_size(path, ignored);
  const int64_t bytes = ignored ? 0 : static_cast<int64_t>(found);
  if (options.common.json) {
    print_json({{"file", path.string()}, {"done", what}, {"bytes", bytes}, {"seconds", seconds}});
  } else {
    fmt::print("{}: {}, {}, {:.1f} s\n", path.string(), what, size_text(bytes), seconds);
  }
}

/// Compares every byte of the model and of its packed weights with what they were.
Status verify(const models::Model& model, const fs::path& path, core::ThreadPool& pool) {
  LAMINA_ASSIGN(const format::PackedFile packed, format::PackedFile::open(path));
  LAMINA_CHECK_OK(packed.verify(pool));
  if (packed.source_checksum() == model.files().checksum()) return {};
  return fail(ErrorCode::kCorrupt, path.string(), "was made from other bytes than {} has",
              model.files().path().string());
}

Status write(models::Model& model, const fs::path& path, core::ThreadPool& pool) {
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  if (error) return fail(ErrorCode::kIo, path.parent_path().string(), "cannot be made: {}", error.message());
  LAMINA_CHECK_OK(check_space(path.parent_path(), model.weight_bytes()));
  note_all(model.weights().notes());
  std::optional<Progress> bar;
  core::Stopwatch watch;
  return model.save_packed(path, pool, [&](int64_t done, int64_t total) {
    if (!bar && watch.seconds() > 1) bar.emplace("packing", total);
    if (bar) bar->update(done);
    return true;
  });
}

/// The packed files made from a model that cannot be opened any more, as their stamps say.
std::vector<fs::path> packed_from(const std::string& model) {
  std::error_code ignored;
  const fs::path stored = model_folder(store_root(), model.substr(0, model.find(':')));
  const fs::path places[] = {fs::weakly_canonical(fs::absolute(model, ignored), ignored),
                             fs::weakly_canonical(stored, ignored)};
  std::vector<fs::path> found;
  for (const fs::path& path : packed_files()) {
    const auto packed = format::PackedFile::open(path);
    if (!packed) continue;
    const fs::path source = fs::weakly_canonical(source_of(*packed), ignored);
    const auto made_from = [&](const fs::path& place) { return source == place || source.parent_path() == place; };
    if (std::ranges::any_of(places, made_from)) found.push_back(path);
  }
  return found;
}

/// What --remove means: a packed file by its own name; that of the model, the recipe and the kind of activations; or,
/// without a recipe, all that were made from a model that cannot be opened.
Result<std::vector<fs::path>> to_remove(const CommonOptions& common) {
  std::error_code error;
  for (const fs::path& path : packed_files()) {
    if (fs::equivalent(path, common.model, error)) return std::vector{path};
  }
  const auto model = build_model(common);
  if (model) {
    const fs::path path = packed_path(**model, common.activations == "f32");
    if (fs::exists(path, error)) return std::vector{path};
    return fail(ErrorCode::kNotFound, path.string(), "is not there to be removed");
  }
  std::vector<fs::path> paths = common.recipe.empty() ? packed_from(common.model) : std::vector<fs::path>();
  if (paths.empty()) return std::unexpected(model.error());
  return paths;
}

Status remove(const PackOptions& options) {
  LAMINA_ASSIGN(const std::vector<fs::path> paths, to_remove(options.common));
  ordered_json names = ordered_json::array();
  for (const fs::path& path : paths) {
    std::error_code error;
    if (!fs::remove(path, error)) return fail(ErrorCode::kIo, path.string(), "cannot be removed: {}", error.message());
    names.push_back(path.string());
    if (!options.common.json) fmt::print("{}: removed\n", path.string());
  }
  if (options.common.json) print_json({{"done", "removed"}, {"files", std::move(names)}});
  return {};
}

Status pack(const PackOptions& options) {
  if (options.common.model.empty()) {
    if (!options.verify && !options.remove) return list(options.common.json);
    return fail(ErrorCode::kInvalid, "MODEL", "is required with --verify and --remove");
  }
  if (options.remove) return remove(options);
  const core::Stopwatch watch;
  LAMINA_ASSIGN(const std::unique_ptr<models::Model> model, build_model(options.common));
  const fs::path path = packed_path(*model, options.common.activations == "f32");
  core::ThreadPool pool(options.common.threads);
  const Status fits = use_packed(*model, path);
  if (options.verify) {
    LAMINA_CHECK_OK(fits);
    LAMINA_CHECK_OK(verify(*model, path, pool));
    print_done(options, "verified", path, watch.seconds());
    return {};
  }
  if (!fits) LAMINA_CHECK_OK(write(*model, path, pool));
  print_done(options, fits ? "is up to date" : "written", path, watch.seconds());
  return {};
}

}  // namespace

void add_pack(CLI::App& app, int& exit_status) {
  auto options = std::make_shared<PackOptions>();
  CLI::App* command =
      add_command(app, "pack", "keep a model's weights as they lie in memory, so that it starts at once",
                  "  lamina pack smollm2-135m             (every command that loads the model uses them from now on)\n"
                  "  lamina pack model.gguf --recipe \"L*:q8_0\"   (for runs with these number formats)\n"
                  "  lamina pack                          (lists what is packed)\n"
                  "  lamina pack smollm2-135m --verify    (reads all and compares checksums)\n"
                  "  lamina pack smollm2-135m --remove    (LAMINA_PACKED=off leaves them unused)");
  command->add_option("MODEL", options->common.model,
                      "a .gguf file, a folder in the Hugging Face layout, or a name in the store");
  command->add_option("--recipe", options->common.recipe, "codecs of the weights; see `lamina techniques`");
  command->add_option("--activations", options->common.activations, "int8 or f32, as the runs will have")
      ->check(CLI::IsMember({"int8", "f32"}));
  command->add_option("--threads", options->common.threads, "threads; as many as this process may use by default")
      ->check(CLI::Range(1, 256));
  command->add_flag("--verify", options->verify, "compare the packed weights and the model with their checksums");
  command->add_flag("--remove", options->remove, "delete the packed weights");
  add_json_option(*command, options->common.json);
  command->callback([options, &exit_status] { exit_status = exit_status_of(pack(*options)); });
}

}  // namespace lamina::app
