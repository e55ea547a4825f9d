#include "compress/merge.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include "compress/merge_rules.h"
#include "compress/regression_merge.h"
#include "core/clock.h"
#include "models/same_meaning.h"

namespace lamina::compress {

namespace fs = std::filesystem;
using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

namespace {

/// A model that is read alone.
using Source = std::unique_ptr<ModelEdit>;

/// Numbers parted by commas.
Result<std::vector<double>> read_weights(const std::string& text, const PassUse& use, size_t models) {
  std::vector<double> out;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    double value = 0;
    const auto [at, code] = std::from_chars(text.data() + begin, text.data() + end, value);
    if (code != std::errc() || at != text.data() + end || !std::isfinite(value))
      return use.refuse(fmt::format("weights \"{}\": numbers parted by commas expected", text));
    out.push_back(value);
    begin = end + 1;
  }
  if (out.size() != models)
    return use.refuse(fmt::format("{} weights for {} models; as many expected", out.size(), models));
  return out;
}

Result<MergeRule> read_rule(const PassUse& use, size_t models, bool base) {
  static const std::map<std::string_view, MergeKind> kKinds{
      {"linear", MergeKind::kLinear}, {"slerp", MergeKind::kSlerp}, {"arithmetic", MergeKind::kArithmetic},
      {"ties", MergeKind::kTies},     {"dare", MergeKind::kDare},   {"regmean", MergeKind::kRegmean}};
  MergeRule rule{.kind = kKinds.at(use.step.technique)};
  const auto has = [&](std::string_view name) {
    return std::ranges::find(use.technique.parameters, name, &recipe::Parameter::name) !=
           use.technique.parameters.end();
  };
  if (has("t")) rule.t = use.number("t");
  if (has("density")) rule.density = use.number("density");
  if (has("scale")) rule.scale = use.number("scale");
  if (has("seed")) rule.seed = static_cast<uint64_t>(use.integer("seed"));
  if (rule.kind == MergeKind::kSlerp && models != 2)
    return use.refuse(fmt::format("lies between two models; {} were given", models));
  if (rule.needs_base() && !base) return use.refuse("adds differences from a base model; --base expected");
  if (!rule.needs_base() && base) return use.refuse("has no use for --base");
  const double share = rule.kind == MergeKind::kArithmetic ? 1 : 1 / static_cast<double>(models);
  rule.weights.assign(models, share);
  if (has("weights") && use.word("weights") != "equal") {
    LAMINA_ASSIGN(rule.weights, read_weights(use.word("weights"), use, models));
  }
  return rule;
}

/// Whether the other's pieces are those of the model, one by one.
Status check_pieces(const ModelEdit& edit, const ModelEdit& other) {
  const std::string place = other.model().files().path().string();
  const auto own = edit.pieces();
  const auto others = other.pieces();
  for (size_t i = 0; i < own.size(); ++i) {
    if (i >= others.size() || own[i].from.tensor != others[i].from.tensor) {
      return fail(ErrorCode::kInvalid, place, "lacks tensor {}, which {} has", own[i].from.tensor,
                  edit.model().files().path().string());
    }
    if (own[i].outputs != others[i].outputs || own[i].inputs != others[i].inputs) {
      return fail(ErrorCode::kInvalid, place, "tensor {} has {} x {} numbers; {} x {} expected, as {} has",
                  own[i].from.tensor, others[i].outputs, others[i].inputs, own[i].outputs, own[i].inputs,
                  edit.model().files().path().string());
    }
  }
  if (others.size() == own.size()) return {};
  return fail(ErrorCode::kInvalid, place, "has tensor {}, which {} lacks", others[own.size()].from.tensor,
              edit.model().files().path().string());
}

Status check_fit(const ModelEdit& edit, const ModelEdit& other) {
  const std::string place = other.model().files().path().string();
  const format::ModelFiles& files = edit.model().files();
  if (edit.architecture().name != other.architecture().name) {
    return fail(ErrorCode::kInvalid, place, "is of architecture {}; {} expected, as {} is", other.architecture().name,
                edit.architecture().name, files.path().string());
  }
  if (files.container() != other.model().files().container()) {
    return fail(ErrorCode::kUnsupported, place, "lies in another container than {}; `lamina compress` converts either",
                files.path().string());
  }
  LAMINA_CHECK_OK(check_pieces(edit, other));
  LAMINA_ASSIGN(const models::ResolvedModel own, models::resolve(edit.architecture(), files));
  LAMINA_ASSIGN(const models::ResolvedModel its, models::resolve(other.architecture(), other.model().files()));
  if (const Status same = models::check_same_meaning(own, its, place); !same)
    return fail(ErrorCode::kInvalid, place, "does not compute what {} does: {}", files.path().string(),
                same.error().message);
  return {};
}

/// Texts that should be one: merged rows of another vocabulary mean nothing.
Result<bool> same_tokens(const format::ModelFiles& a, const format::ModelFiles& b) {
  if (a.gguf() != nullptr && b.gguf() != nullptr) {
    const format::GgufValue* first = a.gguf()->find("tokenizer.ggml.tokens");
    const format::GgufValue* second = b.gguf()->find("tokenizer.ggml.tokens");
    if (first == nullptr || second == nullptr) return first == second;
    return std::ranges::equal(first->bytes(), second->bytes());
  }
  LAMINA_ASSIGN(const auto first, a.read_text("tokenizer.json"));
  LAMINA_ASSIGN(const auto second, b.read_text("tokenizer.json"));
  return first == second;
}

class Merge {
 public:
  Merge(const MergeRule& rule, ModelEdit& edit) : rule_(rule), edit_(edit) {}

  Status open(const MergeSources& sources, PassReport& report);
  Status run();
  /// By regression, which reads the first model again while it changes.
  Status run_regression(const PassUse& use, const MergeSources& sources, PassReport& report);

 private:
  Result<Source> open_one(const fs::path& path, PassReport& report);
  Status merge(const Piece& piece, size_t index);

  const MergeRule& rule_;
  ModelEdit& edit_;
  std::vector<Source> others_;
  Source base_;
};

Result<Source> Merge::open_one(const fs::path& path, PassReport& report) {
  LAMINA_ASSIGN(std::unique_ptr<models::Model> model, models::Model::build(path, {}));
  // Nothing is written to it, but it needs a place of its own.
  LAMINA_ASSIGN(ModelEdit edit, ModelEdit::open(std::move(model), fs::temp_directory_path(), edit_.pool()));
  LAMINA_CHECK_OK(check_fit(edit_, edit));
  LAMINA_ASSIGN(const bool alike, same_tokens(edit_.model().files(), edit.model().files()));
  if (!alike)
    report.notes.push_back(fmt::format("{} has another tokenizer; that of the first model is written", path.string()));
  return std::make_unique<ModelEdit>(std::move(edit));
}

Status Merge::open(const MergeSources& sources, PassReport& report) {
  for (const fs::path& path : sources.others) {
    LAMINA_ASSIGN(Source source, open_one(path, report));
    others_.push_back(std::move(source));
  }
  if (sources.base.empty()) return {};
  LAMINA_ASSIGN(base_, open_one(sources.base, report));
  return {};
}

Status Merge::merge(const Piece& piece, size_t index) {
  LAMINA_ASSIGN(Matrix own, edit_.read(piece));
  std::vector<std::vector<float>> models{std::move(own.numbers)};
  for (const Source& other : others_) {
    LAMINA_ASSIGN(Matrix numbers, other->read(other->pieces()[index]));
    models.push_back(std::move(numbers.numbers));
  }
  std::vector<float> base;
  if (base_) {
    LAMINA_ASSIGN(Matrix numbers, base_->read(base_->pieces()[index]));
    base = std::move(numbers.numbers);
  }
  const std::string name = fmt::format("{}.{}.{}.{}", piece.layer, piece.role, piece.key, piece.from.index);
  own.numbers = merge_numbers(rule_, base, models, name);
  return edit_.write(piece, own);
}

Status Merge::run() {
  for (size_t i = 0; i < edit_.pieces().size(); ++i) {
    const Piece piece = edit_.pieces()[i];
    if (!piece.literal.empty()) continue;
    LAMINA_CHECK_OK(merge(piece, i));
  }
  return {};
}

Status Merge::run_regression(const PassUse& use, const MergeSources& sources, PassReport& report) {
  LAMINA_ASSIGN(Source first, open_one(edit_.model().files().path(), report));
  others_.insert(others_.begin(), std::move(first));
  const RegressionRule rule{.weights = rule_.weights,
                            .alpha = use.number("alpha"),
                            .merged_inputs = use.word("inputs") == "merged",
                            .tokens = use.integer("tokens")};
  return merge_by_regression(rule, others_, sources.texts, edit_, report);
}

/// Texts are for regression alone.
Status check_texts(const PassUse& use, const MergeRule& rule, const MergeSources& sources) {
  const size_t models = sources.others.size() + 1;
  const size_t texts = sources.texts.size();
  if (rule.kind != MergeKind::kRegmean) return texts == 0 ? Status() : use.refuse("has no use for --calibration");
  if (texts == 1 || texts == models) return {};
  return use.refuse(
      fmt::format("goes by what matrices read; --calibration with a text for each of {} models, or one "
                  "for all, expected, not {}",
                  models, texts));
}

}  // namespace

Status merge_models(const recipe::Recipe& recipe, const MergeSources& sources, ModelEdit& edit,
                    std::vector<PassReport>& reports) {
  recipe::Clause clause;
  clause.where.place = recipe::Place::kMerge;
  clause.steps.emplace_back().technique = "linear";
  for (const recipe::Clause& one : recipe.clauses) {
    if (one.where.place == recipe::Place::kMerge) clause = one;
  }
  const recipe::Step& step = clause.steps.front();
  const recipe::Technique& technique = *recipe::find_technique(recipe::Place::kMerge, step.technique);
  const PassUse use{.clause = clause, .step = step, .technique = technique};
  LAMINA_ASSIGN(const MergeRule rule, read_rule(use, sources.others.size() + 1, !sources.base.empty()));
  LAMINA_CHECK_OK(check_texts(use, rule, sources));
  PassReport report{.clause = recipe::print(clause.where) + ":" + recipe::print(step)};
  const core::Stopwatch watch;
  Merge merge(rule, edit);
  LAMINA_CHECK_OK(merge.open(sources, report));
  const bool regression = rule.kind == MergeKind::kRegmean;
  LAMINA_CHECK_OK(regression ? merge.run_regression(use, sources, report) : merge.run());
  LAMINA_CHECK_OK(edit.commit());
  report.summary = fmt::format("{} models became one", sources.others.size() + 1);
  report.details["models"] = sources.others.size() + 1;
  report.details["weights"] = rule.weights;
  report.seconds = watch.seconds();
  reports.push_back(std::move(report));
  return {};
}

}  // namespace lamina::compress
