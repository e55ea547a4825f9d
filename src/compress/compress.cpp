#include "compress/compress.h"

#include <algorithm>
#include <fstream>
#include <limits>

#include "compress/attention_free.h"
#include "compress/finished_tensors.h"
#include "compress/layer_grams.h"
#include "compress/metadata.h"
#include "compress/output_place.h"
#include "compress/rounding.h"
#include "compress/sentence.h"
#include "core/checksum.h"
#include "format/safetensors_writer.h"
#include "layers/weight_codecs.h"
#include "models/translate.h"
#include "models/vocabulary.h"
#include "recipe/technique.h"
#include "text/tokenizer_convert.h"

namespace lamina::compress {

namespace fs = std::filesystem;
using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;
using format::Container;
using nlohmann::json;

namespace {

/// The recipe, if all that it asks for can be baked into the weights.
Result<recipe::Recipe> read_recipe(const std::string& text, bool merges) {
  LAMINA_ASSIGN(recipe::Recipe parsed, recipe::parse(text));
  LAMINA_CHECK_OK(recipe::validate(parsed));
  for (const recipe::Clause& clause : parsed.clauses) {
    for (const recipe::Step& step : clause.steps) {
      const recipe::Technique& technique = *recipe::find_technique(clause.where.place, step.technique);
      if (technique.sets_format) continue;
      const bool pass =
          clause.where.place == recipe::Place::kWeights &&
          (technique.writes || std::ranges::find(passes(), step.technique, &Pass::technique) != passes().end());
      if (pass || (merges && clause.where.place == recipe::Place::kMerge)) continue;
      if (clause.where.place == recipe::Place::kMerge) {
        return fail(ErrorCode::kInvalid, recipe::error_place(step.position),
                    "{} makes one model of several; `lamina merge` takes them", step.technique);
      }
      return fail(ErrorCode::kUnsupported, recipe::error_place(step.position),
                  "{} changes the run, not the weights; give it to `run` or `serve`", step.technique);
    }
  }
  return parsed;
}

/// One run of the gate: what is read, what is to be written, and where.
class Job {
 public:
  Job(const CompressOptions& options, core::ThreadPool& pool, const Progress& progress)
      : options_(options), pool_(pool), progress_(progress) {}

  Result<CompressReport> run();

 private:
  Status open();
  Status say_attention_free();
  Status read_statistics();
  Status read_calibration();
  Status plan_tensors();
  Status choose_formats();
  void number_layers();
  void note_idle_tensors();
  Status check_recipe() const;
  Status check_selection(const std::vector<Piece>& pieces) const;
  uint64_t plan_checksum() const;
  Status open_finished();
  format::TensorSource source_of(size_t index);
  Status set_pooling(format::GgufWriter& writer);
  Status write_gguf();
  Status write_folder();
  Status describe_gguf(const format::Gguf& gguf);
  Status write_text(const std::string& name, const std::string& text) const;
  Status copy_side_files() const;
  Result<std::optional<text::TokenizerData>> folder_tokenizer();
  Status copy_metadata(format::GgufWriter& writer, const format::Gguf& gguf) const;
  const codec::Codec* codec_for(const Piece& piece) const;
  const models::Model& model() const { return edit_->model(); }
  bool same_container() const { return model().files().container() == place_->container(); }

  const CompressOptions& options_;
  core::ThreadPool& pool_;
  const Progress& progress_;
  recipe::Recipe recipe_;
  layers::WeightCodecs codecs_;
  std::optional<ModelEdit> edit_;
  std::optional<OutputPlace> place_;
  models::Translation translation_;
  Importance importance_;
  std::map<std::string, const codec::Codec*> bits_;  ///< what `bits` chose, by tensor of the output
  std::vector<OutputTensor> tensors_;
  std::optional<FinishedTensors> finished_;
  CompressReport report_;
  int64_t done_ = 0;
};

/// A tied head has no tensor of its own to give a format to, unless `rotate` makes it one.
Status Job::check_recipe() const {
  for (const recipe::Clause& clause : recipe_.clauses) {
    if (std::ranges::find(clause.steps, "rotate", &recipe::Step::technique) != clause.steps.end()) return {};
  }
  for (const recipe::Clause& clause : recipe_.clauses) {
    if (clause.where.place != recipe::Place::kHead) continue;
    if (model().head().outputs() > 0 && !model().head().tied()) continue;
    return fail(ErrorCode::kInvalid, recipe::error_place(clause.where.position),
                "the model's head is the embedding's table; embed:{} would give it that format",
                clause.steps.front().technique);
  }
  return {};
}

/// Every clause must reach at least one matrix.
Status Job::check_selection(const std::vector<Piece>& pieces) const {
  for (const recipe::Clause& clause : recipe_.clauses) {
    LAMINA_ASSIGN(const layers::WeightCodecs own,
                  layers::WeightCodecs::make({.clauses = {clause}}, edit_->source_layers()));
    if (own.empty()) continue;
    const bool reaches = std::ranges::any_of(pieces, [&](const Piece& piece) {
      return piece.matrix &&
             own.find({.layer = edit_->origin(piece.layer), .role = piece.role, .key = piece.key}) != nullptr;
    });
    if (reaches) continue;
    return fail(ErrorCode::kInvalid, recipe::error_place(clause.where.position), "{} selects no matrix of this model",
                recipe::print(clause.where));
  }
  return {};
}

Status Job::read_statistics() {
  if (options_.statistics.empty()) return {};
  LAMINA_ASSIGN(stats::Statistics statistics, stats::load(options_.statistics));
  LAMINA_CHECK_OK(statistics.check_model(model().files(), options_.statistics.string()));
  report_.statistics = statistics.texts;
  edit_->set_statistics(std::move(statistics));
  return {};
}

/// A text that nothing reads is as wrong as one that is missing.
Status Job::read_calibration() {
  const recipe::Step* reader = nullptr;
  for (const recipe::Clause& clause : recipe_.clauses) {
    for (const recipe::Step& step : clause.steps)
      if (recipe::find_technique(clause.where.place, step.technique)->reads_text) reader = &step;
  }
  if (reader != nullptr && options_.calibration.empty()) {
    return fail(ErrorCode::kInvalid, recipe::error_place(reader->position),
                "{} runs the model on text; --calibration with a file of text expected", reader->technique);
  }
  if (reader == nullptr && !options_.calibration.empty()) {
    return fail(ErrorCode::kInvalid, options_.calibration.front().string(),
                "no technique of the recipe reads calibration text; `lamina stats` makes statistics of it");
  }
  std::vector<int32_t> all;
  for (const fs::path& text : options_.calibration) {
    LAMINA_ASSIGN(const std::vector<int32_t> tokens,
                  read_tokens(text, model().files(), std::numeric_limits<int64_t>::max()));
    all.insert(all.end(), tokens.begin(), tokens.end());
    report_.statistics += fmt::format("{}{:016x}", report_.statistics.empty() ? "" : "+",
                                      core::checksum(std::as_bytes(std::span(tokens))));
  }
  edit_->set_calibration(std::move(all));
  return {};
}

/// What the recipe says; else a matrix that a pass changed gets the format that it had.
const codec::Codec* Job::codec_for(const Piece& piece) const {
  const layers::WeightPlace place{.layer = edit_->origin(piece.layer), .role = piece.role, .key = piece.key};
  if (piece.matrix && bits_selects(recipe_, edit_->source_layers(), place)) {
    const auto chosen = bits_.find(same_container() ? model().weights().file_name(piece.from.tensor) : piece.to.tensor);
    // Before anything is chosen, any format tells which tensors there are.
    return chosen == bits_.end() ? codec::find_codec("q8_0") : chosen->second;
  }
  const codec::Codec* codec = codecs_.find(place);
  return codec != nullptr ? codec : edit_->kept_codec(piece);
}

/// A first plan tells the tensors, on which `bits` measures and chooses; the second has what it chose.
Status Job::choose_formats() {
  const std::vector<std::string> notes = report_.notes;
  LAMINA_CHECK_OK(plan_tensors());
  LAMINA_ASSIGN(bits_, choose_bits({.recipe = recipe_,
                                    .layers = edit_->source_layers(),
                                    .target_bytes = options_.target_bytes,
                                    .tensors = tensors_,
                                    .importance = importance_,
                                    .statistics = edit_->statistics(),
                                    .pool = pool_},
                                   report_.bits));
  if (!bits_.empty()) {
    report_.notes = notes;
    LAMINA_CHECK_OK(plan_tensors());
  }
  return choose_rounding(recipe_, edit_->source_layers(), importance_, tensors_);
}

/// Layers without attention, in words that other programs know where there are some.
Status Job::say_attention_free() {
  const format::Gguf* gguf = model().files().gguf();
  if (gguf == nullptr) {
    for (auto& [key, value] : attention_free_words(*translation_.family, translation_.config)) {
      if (translation_.real_keys.contains(value.before)) translation_.real_keys.insert(key);
      models::set_config_value(translation_.config, Container::kGguf, key, std::move(value.value));
    }
    return {};
  }
  auto words = attention_free_words(edit_->architecture(), edit_->config());
  if (words.empty()) return {};
  for (auto& [key, value] : words) {
    const format::GgufValue* before = gguf->find(value.before);
    edit_->set_config(key, std::move(value.value), before != nullptr && before->type() == format::GgufType::kFloat32);
  }
  return edit_->commit();
}

Status Job::plan_tensors() {
  const models::Architecture* architecture = nullptr;
  if (same_container() && place_->container() == Container::kGguf && !edit_->changed_keys().empty())
    LAMINA_CHECK_OK(say_attention_free());
  LAMINA_ASSIGN(architecture, models::find_architecture(model().files()));
  const ChooseCodec choose = [this](const Piece& piece) { return codec_for(piece); };
  if (same_container()) {
    LAMINA_ASSIGN(const std::vector<Piece> pieces, map_tensors(model(), *architecture));
    LAMINA_CHECK_OK(check_selection(pieces));
    LAMINA_ASSIGN(tensors_, keep_names(model(), pieces, choose));
    number_layers();
    return {};
  }
  LAMINA_ASSIGN(const models::ResolvedModel own, models::resolve(*architecture, model().files()));
  const models::TensorFacts facts{
      .tied = model().head().tied(), .vocabulary = model().vocabulary(), .head = head_index(model(), own)};
  LAMINA_ASSIGN(translation_, models::translate(*architecture, model().files(), place_->container(), facts));
  report_.notes.insert(report_.notes.end(), translation_.notes.begin(), translation_.notes.end());
  LAMINA_ASSIGN(const std::vector<Piece> pieces,
                map_tensors(model(), *architecture, translation_, place_->container()));
  LAMINA_CHECK_OK(check_selection(pieces));
  LAMINA_ASSIGN(tensors_, assemble(model(), pieces, place_->container(), choose));
  number_layers();
  note_idle_tensors();
  return place_->container() == Container::kGguf ? say_attention_free() : Status();
}

/// Recipes and statistics number the layers as the model had them when it was opened.
void Job::number_layers() {
  for (OutputTensor& tensor : tensors_) tensor.layer = edit_->origin(tensor.layer);
}

/// Tensors that no layer reads are not carried over.
void Job::note_idle_tensors() {
  std::vector<std::string> idle;
  for (const format::NamedTensor& tensor : model().files().tensors()) {
    if (!model().weights().used().contains(std::string(tensor.name))) idle.emplace_back(tensor.name);
  }
  if (idle.empty()) return;
  const std::string more = idle.size() > 3 ? fmt::format(" and {} more", idle.size() - 3) : "";
  idle.resize(std::min<size_t>(idle.size(), 3));
  report_.notes.push_back(fmt::format("not read by any layer, so not written: {}{}", fmt::join(idle, ", "), more));
}

/// All that the tensors' bytes depend on.
uint64_t Job::plan_checksum() const {
  std::error_code code;
  const uint64_t statistics_bytes = options_.statistics.empty() ? 0 : fs::file_size(options_.statistics, code);
  std::string plan = fmt::format("{} {} {} {}", stats::fingerprint(model().files()), report_.recipe, report_.statistics,
                                 statistics_bytes);
  for (const fs::path& other : options_.merge.others) plan += " " + other.string();
  for (const fs::path& text : options_.merge.texts) plan += " " + text.string();
  plan += " " + options_.merge.base.string();
  for (const OutputTensor& tensor : tensors_)
    plan += fmt::format("\n{} {} {}", tensor.name, tensor.shape.format->name, tensor.shape.bytes());
  return core::checksum(std::as_bytes(std::span(plan)));
}

Status Job::open_finished() {
  if (!options_.resume) return {};
  LAMINA_ASSIGN(finished_, FinishedTensors::open(place_->unfinished(), plan_checksum()));
  return {};
}

format::TensorSource Job::source_of(size_t index) {
  return [this, index](const format::PutBytes& put) -> Status {
    const auto counted = [&](std::span<const std::byte> bytes) -> Status {
      LAMINA_CHECK_OK(put(bytes));
      done_ += static_cast<int64_t>(bytes.size());
      if (!progress_ || progress_(done_, report_.bytes)) return {};
      return fail(ErrorCode::kCancelled, options_.out.string(), "writing was stopped");
    };
    TensorReport& report = report_.tensors[index];
    const format::TensorSource make = [&](const format::PutBytes& take) {
      return make_tensor(tensors_[index], {.files = model().files(), .pool = pool_, .importance = importance_}, take,
                         report);
    };
    return finished_ ? finished_->give(index, tensors_[index], make, counted, report) : make(counted);
  };
}

/// The tokenizer of a folder for a GGUF file, or nothing when the folder has none.
Result<std::optional<text::TokenizerData>> Job::folder_tokenizer() {
  LAMINA_ASSIGN(const auto tokenizer, model().files().read_text("tokenizer.json"));
  if (!tokenizer) {
    for (const char* other : {"tokenizer.model", "vocab.txt", "vocab.json", "spiece.model"}) {
      std::error_code ignored;
      if (!fs::exists(model().files().path() / other, ignored)) continue;
      return fail(ErrorCode::kUnsupported, model().files().path().string(),
                  "has a tokenizer in {}; only tokenizer.json can be converted", other);
    }
    report_.notes.emplace_back("the folder has no tokenizer.json, so the file has no tokenizer");
    return std::nullopt;
  }
  LAMINA_ASSIGN(text::TokenizerData data, tokenizer_of_folder(model().files(), model().vocabulary()));
  return data;
}

/// How one vector, or the labels, are made of a text's rows.
Status Job::set_pooling(format::GgufWriter& writer) {
  constexpr uint32_t kRank = 4;
  const auto prefix = translation_.config["general.architecture"].get<std::string>();
  LAMINA_ASSIGN(std::optional<uint32_t> type, pooling_of_folder(model().files().path(), report_.notes));
  if (model().head().labels()) {
    writer.set(prefix + ".classifier.output_labels", label_names(model().files().config(), model().head().outputs()));
    type = kRank;
  }
  if (type) writer.set(prefix + ".pooling_type", *type);
  return {};
}

/// The source's metadata with what passes changed of it.
Status Job::copy_metadata(format::GgufWriter& writer, const format::Gguf& gguf) const {
  writer.copy_metadata(gguf);
  json changed = json::object();
  std::set<std::string> real = edit_->real_keys();
  for (const std::string& key : edit_->changed_keys()) {
    const format::GgufValue* before = gguf.find(key);
    const bool is_real =
        before != nullptr && (before->type() == format::GgufType::kFloat32 ||
                              (before->is_array() && before->element_type() == format::GgufType::kFloat32));
    if (is_real) real.insert(key);
    json value = edit_->config().value(key, json());
    if (value.is_null()) {
      writer.erase(key);
    } else {
      changed[key] = std::move(value);
    }
  }
  return set_config(writer, changed, real);
}

Status Job::write_gguf() {
  format::GgufWriter writer;
  const format::Gguf* gguf = model().files().gguf();
  if (gguf != nullptr) {
    LAMINA_CHECK_OK(copy_metadata(writer, *gguf));
  } else {
    LAMINA_CHECK_OK(set_config(writer, translation_.config, translation_.real_keys));
    const fs::path folder = fs::weakly_canonical(model().files().path());
    writer.set("general.name", folder.filename().string());
    LAMINA_CHECK_OK(set_general(writer, model().files().config()));
    LAMINA_ASSIGN(const auto tokenizer, folder_tokenizer());
    LAMINA_ASSIGN(const auto chat_template, models::chat_template_source(model().files()));
    if (tokenizer) set_tokenizer(writer, *tokenizer, chat_template);
    LAMINA_CHECK_OK(set_pooling(writer));
  }
  set_file_type(writer, tensors_);
  if (!report_.recipe.empty()) writer.set(kRecipeKey, report_.recipe);
  if (!report_.statistics.empty()) writer.set(kStatisticsKey, report_.statistics);
  for (size_t i = 0; i < tensors_.size(); ++i) {
    LAMINA_CHECK_OK(writer.add_tensor(tensors_[i].name, tensors_[i].shape, source_of(i)));
  }
  LAMINA_CHECK_OK(writer.write_parts(place_->folder() / place_->file_name(), options_.split_bytes));
  return {};
}

Status Job::write_text(const std::string& name, const std::string& text) const {
  LAMINA_ASSIGN(format::OutputFile file, format::OutputFile::create(place_->folder() / name));
  LAMINA_CHECK_OK(file.write(text));
  return file.commit();
}

/// Everything in the model's folder but its weights.
Status Job::copy_side_files() const {
  std::error_code code;
  for (const auto& entry : fs::directory_iterator(model().files().path(), code)) {
    const std::string name = entry.path().filename().string();
    const std::string extension = entry.path().extension().string();
    const bool weights = extension == ".safetensors" || extension == ".gguf" || extension == ".bin" ||
                         name.ends_with(".safetensors.index.json");
    if (name.starts_with('.') || (weights && !entry.is_directory())) continue;
    fs::copy(entry.path(), place_->folder() / name, fs::copy_options::recursive, code);
    if (code) return fail(ErrorCode::kIo, entry.path().string(), "cannot be copied: {}", code.message());
  }
  if (code) return fail(ErrorCode::kIo, model().files().path().string(), "cannot be read: {}", code.message());
  return {};
}

/// What the folder keeps of the file beside its settings.
Status Job::describe_gguf(const format::Gguf& gguf) {
  json general = general_metadata(gguf);
  if (!general.empty()) translation_.config[kGeneralKey] = std::move(general);
  const std::string prefix = model().files().config().value("general.architecture", "");
  const json pooling = model().files().config().value(prefix + ".pooling_type", json());
  for (const SideFile& file : pooling_files(pooling.is_number_integer() ? pooling.get<int64_t>() : 0)) {
    std::error_code code;
    fs::create_directories((place_->folder() / file.name).parent_path(), code);
    LAMINA_CHECK_OK(write_text(file.name, file.text));
  }
  if (!model().head().labels()) return {};
  const std::string key = prefix + ".classifier.output_labels";
  std::vector<std::string> names = label_names(json::object(), model().head().outputs());
  if (gguf.find(key) != nullptr) {
    LAMINA_ASSIGN(names, gguf.get<std::vector<std::string>>(key));
  }
  set_labels(translation_.config, names);
  return {};
}

Status Job::write_folder() {
  format::SafetensorsWriter writer;
  writer.set_metadata("format", "pt");
  if (!report_.recipe.empty()) writer.set_metadata(kRecipeKey, report_.recipe);
  if (!report_.statistics.empty()) writer.set_metadata(kStatisticsKey, report_.statistics);
  const format::Gguf* gguf = model().files().gguf();
  if (gguf == nullptr) {
    LAMINA_CHECK_OK(copy_side_files());
    if (!edit_->changed_keys().empty()) LAMINA_CHECK_OK(write_text("config.json", edit_->config().dump(2) + "\n"));
  } else {
    LAMINA_CHECK_OK(describe_gguf(*gguf));
    text::TokenizerData tokenizer;
    if (gguf->find("tokenizer.ggml.model") != nullptr) {
      LAMINA_ASSIGN(tokenizer, models::read_tokenizer_data(*gguf));
      LAMINA_ASSIGN(const auto chat_template, models::chat_template_source(model().files()));
      LAMINA_ASSIGN(const text::TokenizerFiles files, text::files_from_data(tokenizer, chat_template));
      LAMINA_CHECK_OK(write_text("tokenizer.json", files.tokenizer));
      LAMINA_CHECK_OK(write_text("tokenizer_config.json", files.config));
    } else {
      report_.notes.emplace_back("the file has no tokenizer, so the folder has none");
    }
    finish_config(translation_, tensors_, tokenizer);
    LAMINA_CHECK_OK(write_text("config.json", translation_.config.dump(2) + "\n"));
  }
  for (size_t i = 0; i < tensors_.size(); ++i) {
    LAMINA_CHECK_OK(writer.add_tensor(tensors_[i].name, tensors_[i].shape, source_of(i)));
  }
  return writer.write_folder(place_->folder(), options_.split_bytes);
}

/// What a model is opened by: the folder, or the GGUF file (of a split one, the first part) in it.
fs::path written_model(const OutputPlace& place) {
  if (place.container() == Container::kHuggingFace) return place.folder();
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(place.folder())) files.push_back(entry.path());
  return *std::ranges::min_element(files);
}

/// Opens the model, checks the recipe against it, and makes room for the output.
Status Job::open() {
  LAMINA_ASSIGN(recipe_, read_recipe(options_.recipe, !options_.merge.empty()));
  report_.recipe = recipe::print(recipe_);
  LAMINA_ASSIGN(std::unique_ptr<models::Model> model, models::Model::build(options_.model, {}));
  report_.architecture = model->architecture();
  for (const format::NamedTensor& tensor : model->files().tensors()) report_.bytes_before += tensor.view.bytes();
  LAMINA_ASSIGN(codecs_, layers::WeightCodecs::make(recipe_, static_cast<int>(model->layers().size())));
  LAMINA_ASSIGN(place_, OutputPlace::open(options_.out, model->files().path(), options_.force));
  LAMINA_ASSIGN(edit_, ModelEdit::open(std::move(model), place_->folder(), pool_));
  LAMINA_CHECK_OK(check_recipe());
  LAMINA_CHECK_OK(read_statistics());
  return read_calibration();
}

Result<CompressReport> Job::run() {
  LAMINA_CHECK_OK(open());
  if (!options_.merge.empty()) LAMINA_CHECK_OK(merge_models(recipe_, options_.merge, *edit_, report_.passes));
  LAMINA_CHECK_OK(run_passes(recipe_, *edit_, report_.passes));
  for (const PassReport& pass : report_.passes)
    report_.notes.insert(report_.notes.end(), pass.notes.begin(), pass.notes.end());
  if (edit_->statistics() != nullptr) importance_ = Importance(*edit_->statistics(), model().files());
  LAMINA_CHECK_OK(choose_formats());
  report_.tensors.resize(tensors_.size());
  for (const OutputTensor& tensor : tensors_) report_.bytes += tensor.shape.bytes();
  LAMINA_CHECK_OK(open_finished());
  LAMINA_CHECK_OK(place_->container() == Container::kGguf ? write_gguf() : write_folder());
  for (const TensorReport& tensor : report_.tensors) {
    if (!tensor.note.empty()) report_.notes.push_back(fmt::format("tensor {}: {}", tensor.name, tensor.note));
  }
  // What cannot be opened as a model is not given its name.
  if (const auto written = models::Model::build(written_model(*place_), {}); !written) {
    return fail(written.error().code, options_.out.string(), "what was written cannot be read: {}",
                written.error().text());
  }
  LAMINA_ASSIGN(report_.files, place_->publish());
  if (finished_) LAMINA_CHECK_OK(finished_->remove());
  return std::move(report_);
}

}  // namespace

Result<CompressReport> compress(const CompressOptions& options, core::ThreadPool& pool, const Progress& progress) {
  return Job(options, pool, progress).run();
}

}  // namespace lamina::compress
