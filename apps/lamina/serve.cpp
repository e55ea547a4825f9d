#include <fmt/format.h>
#include <fmt/ranges.h>
#include <pthread.h>
#include <sys/resource.h>

#include <charconv>
#include <csignal>
#include <ctime>
#include <filesystem>
#include <memory>
#include <mutex>
#include <set>
#include <thread>

#include "codec/codec.h"
#include "kernels/attention.h"
#include "kernels/linear.h"
#include "kernels/variant.h"
#include "lamina/commands.h"
#include "lamina/draft.h"
#include "lamina/progress.h"
#include "lamina/serve_settings.h"
#include "lamina/session.h"
#include "lamina/store.h"
#include "lamina/text_needs.h"
#include "serve/service.h"

namespace lamina::app {

namespace {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

constexpr int64_t kDefaultCacheTokens = 32768;

/// "name=MODEL", or MODEL: a name of the store, or the last part of a path.
struct NamedModel {
  std::string name;
  std::string model;
  std::string limits{};  ///< of its own: "parallel=4&ctx=2048"
};

NamedModel split_name(const std::string& text) {
  if (const size_t mark = text.rfind('?'); mark != std::string::npos) {
    NamedModel named = split_name(text.substr(0, mark));
    named.limits = text.substr(mark + 1);
    return named;
  }
  const size_t equals = text.find('=');
  if (equals != std::string::npos && equals > 0) return {text.substr(0, equals), text.substr(equals + 1)};
  std::error_code error;
  if (!std::filesystem::exists(text, error)) return {text, text};
  const std::filesystem::path path = std::filesystem::weakly_canonical(text, error);
  const bool file = path.extension() == ".gguf";
  return {file ? path.stem().string() : path.filename().string(), text};
}

/// The options with a model's own limits in place of those that hold for all.
Result<ServeOptions> limited(ServeOptions options, const NamedModel& named) {
  for (size_t begin = 0; begin < named.limits.size();) {
    const size_t end = std::min(named.limits.find('&', begin), named.limits.size());
    const std::string one = named.limits.substr(begin, end - begin);
    const size_t equals = std::min(one.find('='), one.size());
    const std::string key = one.substr(0, equals);
    const std::string value = one.substr(std::min(equals + 1, one.size()));
    int64_t number = 0;
    const auto read = std::from_chars(value.data(), value.data() + value.size(), number);
    const bool whole = read.ec == std::errc() && read.ptr == value.data() + value.size() && number > 0;
    if (key == "recipe") {
      options.common.recipe = value;
    } else if (key == "ctx" && whole) {
      options.common.context = number;
    } else if (key == "parallel" && whole && number <= kMostParallel) {
      options.parallel = static_cast<int32_t>(number);
    } else if (key == "cache-tokens" && whole) {
      options.cache_tokens = number;
    } else {
      return fail(ErrorCode::kInvalid, named.name,
                  "limit \"{}\"; ctx=N, parallel=N (at most {}), cache-tokens=N or recipe=TEXT expected", one,
                  kMostParallel);
    }
    begin = end + 1;
  }
  return options;
}

/// As many positions of all texts together as those bytes hold.
Result<int64_t> tokens_within(int64_t bytes, const Session& session, const SessionNeeds& needs, int64_t context) {
  const auto plan = [&](int64_t tokens) {
    run::RunnerOptions own = runner_options(session, needs, context);
    own.cache_tokens = tokens;
    return run::Runner::plan_memory(*session.model, *session.pool, own);
  };
  LAMINA_ASSIGN(const run::RunnerMemory least, plan(context));
  if (least.cache.total() > bytes) {
    return fail(ErrorCode::kLimit, "--cache-bytes", "{}; one text of {} positions takes {}", size_text(bytes), context,
                size_text(least.cache.total()));
  }
  int64_t fits = context;
  for (int64_t most = context * needs.sequences + 1; most - fits > 1;) {
    const int64_t middle = fits + (most - fits) / 2;
    LAMINA_ASSIGN(const run::RunnerMemory memory, plan(middle));
    (memory.cache.total() <= bytes ? fits : most) = middle;
  }
  return fits;
}

Result<SessionNeeds> needs_of(const serve::ServedModel& served, const CommonOptions& common,
                              const ServeOptions& options) {
  if (served.task != serve::Task::kGenerate) {
    LAMINA_ASSIGN(const int64_t limit, text_limit(common, served.settings->limit, *served.model));
    return encoder_needs(limit, *served.model);
  }
  SessionNeeds needs{.sequences = options.parallel,
                     .cache_tokens = options.cache_tokens,
                     .keeps_texts = true,
                     .takes_routes = true,
                     .drafts = true,
                     .routers = true};
  if (needs.cache_tokens == 0) needs.cache_tokens = kDefaultCacheTokens;
  return needs;
}

/// A model ready to be served, and what it takes.
struct Loaded {
  std::unique_ptr<serve::ServedModel> served;
  run::RunnerMemory memory{};
  int64_t weights = 0;
};

/// Loads the model of a session that was prepared, and gives it and its runner to `served`.
Status start(serve::ServedModel& served, Session& session, CommonOptions common, const ServeOptions& options) {
  if (served.task != serve::Task::kGenerate) common.context = 0;  // it has limits of its own
  served.model = std::move(session.model);
  auto needs = needs_of(served, common, options);
  session.model = std::move(served.model);
  if (!needs) return std::unexpected(needs.error());
  if (options.cache_bytes > 0 && served.task == serve::Task::kGenerate) {
    if (!session.pool) session.pool = std::make_shared<core::ThreadPool>(common.threads);
    LAMINA_ASSIGN(const int64_t context, choose_context(common, *needs, *session.model));
    LAMINA_ASSIGN(needs->cache_tokens, tokens_within(options.cache_bytes, session, *needs, context));
  }
  LAMINA_CHECK_OK(start_session(session, common, *needs));
  LAMINA_ASSIGN(served.speculation, open_speculation(session, common));
  served.model = std::move(session.model);
  served.runner = std::move(session.runner);
  if (session.router) {
    served.router = std::make_unique<run::Router>(std::move(*session.router));
    LAMINA_ASSIGN(run::RouterReader reader, run::RouterReader::create(*served.router, *served.runner));
    served.reader = std::make_unique<run::RouterReader>(std::move(reader));
  }
  return {};
}

/// Loads a model again that was unloaded. Its threads are its own meanwhile: those that compute have others to serve.
Status load_again(serve::ServedModel& served, const CommonOptions& common, const ServeOptions& options,
                  const std::shared_ptr<core::ThreadPool>& pool) {
  LAMINA_ASSIGN(Session session, prepare_session(common, false));
  session.pool = pool;
  session.load_pool = std::make_shared<core::ThreadPool>(common.threads);
  return start(served, session, common, options);
}

Result<Loaded> load(const NamedModel& named, const ServeOptions& options, std::shared_ptr<core::ThreadPool>& pool) {
  CommonOptions common = options.common;
  common.model = named.model;
  LAMINA_ASSIGN(Session session, prepare_session(common, true));
  session.pool = pool;
  LAMINA_ASSIGN(const serve::Task task, serve::find_task(*session.model));
  Loaded loaded{.served = std::make_unique<serve::ServedModel>(
                    serve::ServedModel{.name = named.name,
                                       .recipe = options.common.recipe,
                                       .task = task,
                                       .model = std::move(session.model),
                                       .runner = nullptr,
                                       .tokenizer = std::move(*session.tokenizer),
                                       .created = static_cast<int64_t>(std::time(nullptr))})};
  session.tokenizer.reset();  // it is the served model's now
  LAMINA_CHECK_OK(serve::read_uses(*loaded.served));
  session.model = std::move(loaded.served->model);
  LAMINA_CHECK_OK(start(*loaded.served, session, common, options));
  pool = session.pool;
  loaded.memory = session.memory;
  loaded.weights = loaded.served->model->weight_bytes();
  loaded.served->watch = std::make_unique<serve::LayerWatch>(options.watch_every);
  loaded.served->load = [common, options, pool](serve::ServedModel& model) {
    return load_again(model, common, options, pool);
  };
  return loaded;
}

/// The instruction sets that the model's products and its attention run on, by codec.
std::string kernels_of(const serve::ServedModel& model) {
  std::set<std::string> products;
  for (const format::NamedTensor& tensor : model.model->files().tensors()) {
    const codec::Codec* codec = codec::codec_of(*model.model->listed(tensor).format);
    if (codec == nullptr || tensor.view.shape.size() < 2) continue;
    const auto layout = kernels::weight_layout(*codec, kernels::kPanel, 256);
    if (layout) products.insert(fmt::format("{} {}", codec->format.name, core::isa_name(layout->variant->isa)));
  }
  return fmt::format("{}; attention {}", fmt::join(products, ", "),
                     core::isa_name(kernels::strongest_row(kernels::attention_variants()).isa));
}

void print_start(const ServeOptions& options, const serve::Service& service, const std::vector<Loaded>& loaded,
                 int threads) {
  const std::string address =
      fmt::format("{}://{}:{}", options.certificate.empty() ? "http" : "https",
                  options.host.contains(':') ? "[" + options.host + "]" : options.host, service.port());
  nlohmann::ordered_json models = nlohmann::ordered_json::array();
  for (size_t i = 0; i < loaded.size(); ++i) {
    const serve::ServedModel& model = *service.models()[i];
    const run::RunnerOptions& runner = model.runner->options();
    models.push_back({{"name", model.name},
                      {"task", serve::task_name(model.task)},
                      {"context", model.context()},
                      {"parallel", runner.sequences},
                      {"weight_bytes", loaded[i].weights},
                      {"cache_bytes", loaded[i].memory.cache.total()},
                      {"workspace_bytes", loaded[i].memory.workspace},
                      {"kernels", kernels_of(model)}});
    if (options.common.json) continue;
    fmt::print("{}: {}, {} positions, {} at once; weights {}, cache {}, workspace {}; {}\n", model.name,
               serve::task_name(model.task), model.context(), runner.sequences, size_text(loaded[i].weights),
               size_text(loaded[i].memory.cache.total()), size_text(loaded[i].memory.workspace), kernels_of(model));
  }
  if (options.common.json) {
    print_json({{"address", address}, {"threads", threads}, {"models", std::move(models)}});
  } else {
    fmt::print("{} threads; listening on {}\n", threads, address);
  }
  std::fflush(stdout);
}

/// Blocks the signals that end the server or let it read its files again, for this thread and all that it starts.
sigset_t block_signals(bool has_files) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  if (has_files) sigaddset(&signals, SIGHUP);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  return signals;
}

/// Every connection is an open file, and so are models; where the system allows more of them than it gives, take them.
void raise_file_limit(int connections) {
  constexpr rlim_t kOthers = 256;
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  files.rlim_cur = std::max(files.rlim_cur, std::min(files.rlim_max, static_cast<rlim_t>(connections) + kOthers));
  setrlimit(RLIMIT_NOFILE, &files);
}

/// Answers until a signal that ends it; a second one ends the process at once.
void run_until_signal(serve::Service& service, const sigset_t& signals, ServeSettings& settings) {
  std::thread serving([&] { service.run(); });
  int number = 0;
  while (sigwait(&signals, &number) != 0 || number == SIGHUP) {
    if (number == SIGHUP) settings.reload(service);
  }
  const int seconds = settings.options().drain_seconds;
  fmt::print(stderr, "lamina: ending; what runs has {} s\n", seconds);
  std::signal(number, SIG_DFL);
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  service.stop(std::chrono::seconds(seconds));
  serving.join();
}

Status serve_command(const CLI::App& command, const ServeOptions& from_line) {
  ServeSettings settings(command, from_line);
  LAMINA_CHECK_OK(settings.read());
  const ServeOptions options = settings.options();
  const sigset_t signals = block_signals(settings.has_files());
  raise_file_limit(options.connections);
  std::shared_ptr<core::ThreadPool> pool;
  std::vector<Loaded> loaded;
  std::vector<std::unique_ptr<serve::ServedModel>> models;
  std::set<std::string> names;
  for (const std::string& text : options.models) {
    const NamedModel named = split_name(text);
    if (!names.insert(named.name).second)
      return fail(ErrorCode::kInvalid, named.name, "two models of this name; NAME=MODEL gives another");
    LAMINA_ASSIGN(const ServeOptions own, limited(options, named));
    LAMINA_ASSIGN(Loaded one, load(named, own, pool));
    models.push_back(std::move(one.served));
    loaded.push_back(std::move(one));
  }
  serve::Service service(models, settings.service_options());
  LAMINA_CHECK_OK(service.bind(options.host, options.port));
  print_start(options, service, loaded, pool->threads());
  run_until_signal(service, signals, settings);
  return {};
}

}  // namespace

void add_serve(CLI::App& app, int& exit_status) {
  auto options = std::make_shared<ServeOptions>();
  CLI::App* command = add_command(app, "serve", "answer HTTP requests as OpenAI's clients send them",
                                  "  lamina serve smollm2-135m\n"
                                  "  lamina serve chat=smollm2-135m minilm-l6 --port 9000\n"
                                  "  lamina serve --config serve.json\n"
                                  "  lamina serve model.gguf --host 0.0.0.0 --api-key-file keys.txt");
  declare_serve_options(*command, *options);
  command->callback(
      [command, options, &exit_status] { exit_status = exit_status_of(serve_command(*command, *options)); });
}

}  // namespace lamina::app
