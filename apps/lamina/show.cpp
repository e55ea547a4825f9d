#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/memory.h"
#include "format/json.h"
#include "lamina/commands.h"
#include "lamina/licence.h"
#include "lamina/session.h"
#include "lamina/stats_table.h"
#include "lamina/store.h"
#include "lamina/table.h"
#include "run/plan_recipe.h"

namespace lamina::app {

namespace {

using core::Result;
using core::Status;
using nlohmann::ordered_json;

struct ShowOptions {
  CommonOptions common;
  std::string statistics;
  bool plan = false;
  bool all = false;
};

/// A line of the list: tensors that belong together.
struct Row {
  std::string role;  ///< "embedding", "attn", "mlp", "head"
  std::string kind;
  std::vector<std::string> shapes{};  ///< of the matrices, in order
  std::vector<std::string> codecs{};  ///< of the matrices, each once
  int64_t bytes = 0;
  int64_t parameters = 0;
  bool operator==(const Row&) const = default;
};

struct LayerRows {
  int index = 0;
  std::vector<Row> parts;
};

/// Everything that show tells, but for the memory plan.
struct Listing {
  Row embedding;
  std::vector<LayerRows> encoder;  ///< of an encoder-decoder
  std::vector<LayerRows> layers;
  Row head;
};

void add_tensor(Row& row, const core::TensorView& tensor) {
  row.bytes += tensor.bytes();
  row.parameters += tensor.elements();
  if (tensor.rank < 2) return;
  std::string shape;
  for (int i = 0; i < tensor.rank; ++i)
    shape += (i == 0 ? "" : "x") + std::to_string(tensor.shape[static_cast<size_t>(i)]);
  row.shapes.push_back(std::move(shape));
  if (const std::string codec(tensor.format->name); std::ranges::find(row.codecs, codec) == row.codecs.end())
    row.codecs.push_back(codec);
}

std::vector<LayerRows> list_layers(const models::Model& model) {
  std::vector<LayerRows> layers;
  for (const layers::Layer& layer : model.layers()) {
    LayerRows rows{.index = layer.index, .parts = {}};
    for (const layers::Layer::Part& part : layer.parts) {
      Row row{.role = part.role, .kind = part.kind};
      for (const std::string& name : part.tensors) {
        if (const core::TensorView* tensor = model.files().find(name)) add_tensor(row, model.listed({name, *tensor}));
      }
      rows.parts.push_back(std::move(row));
    }
    layers.push_back(std::move(rows));
  }
  return layers;
}

Listing list_model(const models::Model& model) {
  Listing listing{.embedding = {.role = "embedding", .kind = "table"},
                  .encoder = {},
                  .layers = {},
                  .head = {.role = "head", .kind = "linear"}};
  add_tensor(listing.embedding, model.embedding().table());
  int64_t counted = listing.embedding.parameters;
  int64_t counted_bytes = listing.embedding.bytes;
  if (model.encoder() != nullptr) listing.encoder = list_layers(*model.encoder());
  listing.layers = list_layers(model);
  for (const auto* stack : {&listing.encoder, &listing.layers}) {
    for (const LayerRows& layer : *stack) {
      for (const Row& row : layer.parts) {
        counted += row.parameters;
        counted_bytes += row.bytes;
      }
    }
  }
  // What is left belongs to the head: its norm and its own matrix, if it has one, and tensors that are idle.
  if (model.head().tied()) {
    listing.head.kind = "tied to the embedding";
  }
  for (const layers::Linear* linear : model.head().linears()) {
    if (linear->name() != model.embedding().name()) add_tensor(listing.head, linear->source());
  }
  int64_t bytes = 0;
  for (const format::NamedTensor& tensor : model.files().tensors()) bytes += tensor.view.bytes();
  listing.head.parameters = model.parameters() - counted;
  listing.head.bytes = bytes - counted_bytes;
  return listing;
}

/// "gpt2 (smollm)", "BPE", ...; read from the header, not from the vocabulary.
Result<std::string> tokenizer_kind(const format::ModelFiles& files) {
  if (files.gguf() != nullptr) {
    LAMINA_ASSIGN(const std::string model, files.gguf()->get_or<std::string>("tokenizer.ggml.model", "none"));
    LAMINA_ASSIGN(const std::string pre, files.gguf()->get_or<std::string>("tokenizer.ggml.pre", ""));
    return pre.empty() ? model : fmt::format("{} ({})", model, pre);
  }
  LAMINA_ASSIGN(const std::optional<std::string> text, files.read_text("tokenizer.json"));
  if (!text) return std::string("none");
  LAMINA_ASSIGN(const nlohmann::json data, format::parse_json(*text, files.path().string() + "/tokenizer.json"));
  const auto model = data.find("model");
  return model != data.end() && model->is_object() ? model->value("type", "unknown") : std::string("unknown");
}

ordered_json to_json(const Row& row) {
  return {{"role", row.role},     {"kind", row.kind},   {"shapes", row.shapes},
          {"codecs", row.codecs}, {"bytes", row.bytes}, {"parameters", row.parameters}};
}

ordered_json to_json(const LayerRows& layer) {
  ordered_json out{
      {"index", layer.index}, {"kind", ""},     {"shapes", ordered_json::array()}, {"codecs", ordered_json::array()},
      {"bytes", 0},           {"parameters", 0}};
  std::string kind;
  int64_t bytes = 0;
  int64_t parameters = 0;
  for (const Row& part : layer.parts) {
    kind += (kind.empty() ? "" : "+") + part.kind;
    bytes += part.bytes;
    parameters += part.parameters;
    for (const std::string& shape : part.shapes) out["shapes"].push_back(shape);
    for (const std::string& codec : part.codecs) {
      if (std::ranges::find(out["codecs"], ordered_json(codec)) == out["codecs"].end()) out["codecs"].push_back(codec);
    }
    out["parts"].push_back(to_json(part));
  }
  out["kind"] = kind;
  out["bytes"] = bytes;
  out["parameters"] = parameters;
  return out;
}

/// The shapes with repetitions counted: "2 of 576x576, 2 of 192x576".
std::string shapes_text(const std::vector<std::string>& shapes) {
  std::vector<std::pair<std::string, int>> counts;
  for (const std::string& shape : shapes) {
    const auto found = std::ranges::find(counts, shape, &std::pair<std::string, int>::first);
    if (found != counts.end()) {
      ++found->second;
    } else {
      counts.emplace_back(shape, 1);
    }
  }
  std::string text;
  for (const auto& [shape, count] : counts)
    text += (text.empty() ? "" : ", ") + (count > 1 ? fmt::format("{} of {}", count, shape) : shape);
  return text;
}

void add_row(Table& table, const std::string& index, const Row& row) {
  table.add({index, row.role, row.kind, shapes_text(row.shapes), fmt::format("{}", fmt::join(row.codecs, ", ")),
             size_text(row.bytes), short_count_text(row.parameters)});
}

/// Adds a stack's layers; neighbours that are alike stand in one row, unless `all`. Whether some do.
bool add_layers(Table& table, const std::vector<LayerRows>& layers, const std::string& prefix, bool all) {
  bool ranges = false;
  for (size_t first = 0; first < layers.size();) {
    size_t last = first;
    while (!all && last + 1 < layers.size() && layers[last + 1].parts == layers[first].parts) ++last;
    std::string index = prefix + (first == last ? fmt::format("{}", first) : fmt::format("{}-{}", first, last));
    ranges = ranges || last > first;
    for (const Row& part : layers[first].parts) add_row(table, std::exchange(index, ""), part);
    first = last + 1;
  }
  return ranges;
}

void print_layers(const Listing& listing, bool all) {
  Table table({">LAYER", "PART", "KIND", "MATRICES", "CODECS", ">BYTES", ">PARAMETERS"});
  add_row(table, "", listing.embedding);
  const bool encoder = add_layers(table, listing.encoder, "encoder ", all);
  const bool ranges = add_layers(table, listing.layers, "", all) || encoder;
  add_row(table, "", listing.head);
  fmt::print("{}", table.text());
  if (ranges) fmt::print("\nBytes and parameters are those of one layer; a range of layers is alike.\n");
}

struct MemoryPlan {
  int64_t context = 0;
  int threads = 1;
  int64_t weights = 0;
  run::RunnerMemory rest;
  int64_t available = 0;
  int64_t total() const { return weights + rest.cache.total() + rest.workspace; }
};

Result<MemoryPlan> plan_memory(const CommonOptions& options, const models::Model& model) {
  LAMINA_ASSIGN(recipe::RunPlan plan, run::plan_recipe(options.recipe, model));
  LAMINA_ASSIGN(const int64_t context, choose_context(options, {}, model));
  const core::ThreadPool pool(options.threads);
  const run::RunnerOptions runner{
      .plan = std::move(plan), .context = context, .sequences = 1, .max_rows = std::min<int64_t>(512, context)};
  MemoryPlan out{.context = context,
                 .threads = pool.threads(),
                 .weights = model.weight_bytes(),
                 .rest = {},
                 .available = core::available_bytes()};
  LAMINA_ASSIGN(out.rest, run::Runner::plan_memory(model, pool, runner));
  return out;
}

ordered_json to_json(const MemoryPlan& plan) {
  const cache::CacheBytes& cache = plan.rest.cache;
  return {{"context", plan.context},
          {"threads", plan.threads},
          {"weights", plan.weights},
          {"cache", cache.total()},
          {"cache_parts",
           {{"whole", cache.whole},
            {"windows", cache.windows},
            {"latents", cache.latents},
            {"states", cache.states},
            {"tables", cache.tables}}},
          {"workspace", plan.rest.workspace},
          {"total", plan.total()},
          {"available", plan.available},
          {"fits", plan.total() <= plan.available}};
}

void print_plan(const MemoryPlan& plan) {
  Table table({"MEMORY", ">BYTES"});
  table.add({"weights, packed", size_text(plan.weights)});
  table.add({fmt::format("cache, 1 sequence of {} positions", plan.context), size_text(plan.rest.cache.total())});
  const cache::CacheBytes& cache = plan.rest.cache;
  const std::array parts{std::pair{"keys and values of all positions", cache.whole},
                         std::pair{"keys and values of windows", cache.windows}, std::pair{"latents", cache.latents},
                         std::pair{"states", cache.states}, std::pair{"tables", cache.tables}};
  for (const auto& [name, bytes] : parts) {
    if (bytes > 0) table.add({fmt::format("  {}", name), size_text(bytes)});
  }
  table.add({fmt::format("workspace, {} threads", plan.threads), size_text(plan.rest.workspace)});
  table.add({"total", size_text(plan.total())});
  table.add({"available", size_text(plan.available)});
  fmt::print("\n{}{}", table.text(),
             plan.total() <= plan.available ? "" : "It does not fit; a smaller --ctx or model would.\n");
}

ordered_json route_json(const recipe::RunPlan& plan) {
  ordered_json out{{"text", recipe::route_text(plan.route)}, {"visits", ordered_json::array()}};
  for (const recipe::Visit& visit : plan.route) out["visits"].push_back(visit.layer);
  if (plan.draft && plan.draft->source == recipe::DraftPlan::Source::kRoute)
    out["draft"] = recipe::route_text(plan.draft->route);
  return out;
}

/// What a recipe makes of the layers.
std::vector<std::pair<std::string, std::string>> route_facts(const ordered_json& route) {
  std::vector<std::pair<std::string, std::string>> facts{
      {"Route", fmt::format("{} ({} in all)", route["text"].get<std::string>(), route["visits"].size())}};
  if (route.contains("draft")) facts.emplace_back("Draft", route["draft"].get<std::string>());
  return facts;
}

/// Those of this model, or nothing when none were asked for.
Result<std::optional<stats::Statistics>> read_statistics(const ShowOptions& options, const models::Model& model) {
  if (options.statistics.empty()) return std::nullopt;
  LAMINA_ASSIGN(stats::Statistics statistics, stats::load(options.statistics));
  LAMINA_CHECK_OK(statistics.check_model(model.files(), options.statistics));
  return statistics;
}

ordered_json statistics_json(const stats::Statistics& statistics) {
  return {{"texts", statistics.texts},
          {"tokens", statistics.tokens},
          {"tensors", statistics.matrices.size()},
          {"parts", parts_json(statistics)},
          {"experts", experts_json(statistics)},
          {"attention", attention_json(statistics)}};
}

void print_statistics(const stats::Statistics& statistics, bool all) {
  fmt::print("\nCalibration text of {} tokens ({}), inputs of {} tensors\n", count_text(statistics.tokens),
             statistics.texts, statistics.matrices.size());
  if (!statistics.parts.empty()) fmt::print("{}", parts_text(statistics));
  if (!statistics.experts.empty())
    fmt::print("\nExperts, by the tokens that went to them\n{}", experts_text(statistics, all));
  if (!statistics.attention.empty()) {
    fmt::print("\nAttention: nats of entropy, and shares of what a row gives{}\n{}",
               all ? "" : "; mean and range of the heads", attention_text(statistics, all));
  }
}

Status show(const ShowOptions& options) {
  LAMINA_ASSIGN(const std::unique_ptr<models::Model> model, build_model(options.common));
  const Listing listing = list_model(*model);
  LAMINA_ASSIGN(const std::string tokenizer, tokenizer_kind(model->files()));
  const std::string licence = licence_of(model->files());
  std::optional<ordered_json> route;
  if (!options.common.recipe.empty()) {
    LAMINA_ASSIGN(const recipe::RunPlan planned, run::plan_recipe(options.common.recipe, *model));
    route = route_json(planned);
  }
  LAMINA_ASSIGN(const std::optional<stats::Statistics> statistics, read_statistics(options, *model));
  std::optional<MemoryPlan> plan;
  if (options.plan) {
    LAMINA_ASSIGN(plan, plan_memory(options.common, *model));
  }
  if (options.common.json) {
    ordered_json out{{"architecture", model->architecture()},
                     {"parameters", model->parameters()},
                     {"bytes", model->files().file_bytes()},
                     {"context", model->context()},
                     {"vocabulary", model->vocabulary()},
                     {"hidden", model->hidden()},
                     {"tokenizer", tokenizer},
                     {"licence", licence},
                     {"embedding", to_json(listing.embedding)},
                     {"layers", ordered_json::array()},
                     {"head", to_json(listing.head)}};
    for (const LayerRows& layer : listing.layers) out["layers"].push_back(to_json(layer));
    for (const LayerRows& layer : listing.encoder) out["encoder"].push_back(to_json(layer));
    if (route) out["route"] = std::move(*route);
    if (plan) out["plan"] = to_json(*plan);
    if (statistics) out["statistics"] = statistics_json(*statistics);
    print_json(out);
    return {};
  }
  fmt::print("{}\n", facts_text({{"Model", model->files().path().string()},
                                 {"Architecture", model->architecture()},
                                 {"Parameters", count_text(model->parameters())},
                                 {"Size", size_text(model->files().file_bytes())},
                                 {"Layers", std::to_string(model->layers().size())},
                                 {"Hidden size", std::to_string(model->hidden())},
                                 {"Context", fmt::format("{} positions", model->context())},
                                 {"Vocabulary", fmt::format("{} tokens", model->vocabulary())},
                                 {"Tokenizer", tokenizer},
                                 {"Licence", licence.empty() ? "not named" : licence}}));
  if (route) fmt::print("{}\n", facts_text(route_facts(*route)));
  print_layers(listing, options.all);
  if (plan) print_plan(*plan);
  if (statistics) print_statistics(*statistics, options.all);
  return {};
}

}  // namespace

void add_show(CLI::App& app, int& exit_status) {
  auto options = std::make_shared<ShowOptions>();
  CLI::App* command =
      add_command(app, "show", "list a model's layers, and the memory that it would take",
                  "  lamina show smollm2-135m\n"
                  "  lamina show model.gguf --plan --ctx 8192   (weights, cache and workspace in memory)\n"
                  "  lamina show model.gguf --json");
  add_model_options(*command, options->common);
  command->add_flag("--plan", options->plan,
                    "the memory that `run` would take with the same --ctx, --threads and --recipe");
  command->add_option("--stats", options->statistics, "what `lamina stats` saw of this model, by layer")
      ->check(CLI::ExistingFile);
  command->add_flag("--all", options->all,
                    "a row for every layer, alike or not, and with --stats for every head and expert");
  command->callback([options, &exit_status] { exit_status = exit_status_of(show(*options)); });
}

}  // namespace lamina::app
