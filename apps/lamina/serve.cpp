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
#include "lamina/progress.h"
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
constexpr int32_t kMostParallel = 256;

struct ServeOptions {
  CommonOptions common;
  std::vector<std::string> models;
  std::string host = "127.0.0.1";
  int port = 8080;
  std::vector<std::string> keys;
  std::string key_file;
  bool without_key = false;
  int32_t parallel = 16;
  int64_t queue = 128;
  int64_t cache_tokens = 0;
  int64_t cache_bytes = 0;
  double max_gap_ms = 0;
  int unload_idle = 0;
  std::string sessions;
  std::vector<std::string> origins;
  int drain_seconds = 30;
  int connections = 1024;
  std::string log = "text";
};

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
    return run::Runner::plan_memory(*session.model, *session.pool,
                                    {.plan = session.plan,
                                     .context = context,
                                     .sequences = needs.sequences,
                                     .max_rows = std::min(needs.max_rows, context * needs.sequences),
                                     .cache_tokens = tokens,
                                     .keeps_texts = needs.keeps_texts});
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
  SessionNeeds needs{.sequences = options.parallel, .cache_tokens = options.cache_tokens, .keeps_texts = true};
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
  served.model = std::move(session.model);
  served.runner = std::move(session.runner);
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
  LAMINA_CHECK_OK(serve::read_uses(*loaded.served));
  session.model = std::move(loaded.served->model);
  LAMINA_CHECK_OK(start(*loaded.served, session, common, options));
  pool = session.pool;
  loaded.memory = session.memory;
  loaded.weights = loaded.served->model->weight_bytes();
  loaded.served->load = [common, options, pool](serve::ServedModel& model) {
    return load_again(model, common, options, pool);
  };
  return loaded;
}

Result<std::vector<std::string>> read_keys(const ServeOptions& options) {
  std::vector<std::string> keys = options.keys;
  if (!options.key_file.empty()) {
    LAMINA_ASSIGN(const std::string text, read_file(options.key_file));
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      if (end > begin) keys.push_back(text.substr(begin, end - begin));
      begin = end + 1;
    }
    if (keys.empty()) return fail(ErrorCode::kInvalid, options.key_file, "has no key; one a line expected");
  }
  for (const std::string& key : keys) {
    if (key.empty()) return fail(ErrorCode::kInvalid, "--api-key", "it is empty; a secret text expected");
  }
  return keys;
}

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

/// Lines of the log on standard error, each written at once.
class RequestLog {
 public:
  explicit RequestLog(bool json) : json_(json) {}
  void operator()(const serve::RequestRecord& record) const {
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    gmtime_r(&now, &parts);
    std::array<char, 32> time{};
    std::strftime(time.data(), time.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
    const double milliseconds = 1e3 * record.seconds;
    if (!json_) {
      fmt::print(stderr, "{} {} {} {} {} {} {} {}+{} tokens {:.0f} ms\n", time.data(), record.id, record.client,
                 record.method, record.path, record.status, record.model.empty() ? "-" : record.model,
                 record.prompt_tokens, record.completion_tokens, milliseconds);
      return;
    }
    const nlohmann::ordered_json line{{"time", time.data()},
                                      {"id", record.id},
                                      {"client", record.client},
                                      {"method", record.method},
                                      {"path", record.path},
                                      {"status", record.status},
                                      {"model", record.model},
                                      {"prompt_tokens", record.prompt_tokens},
                                      {"completion_tokens", record.completion_tokens},
                                      {"milliseconds", milliseconds}};
    fmt::print(stderr, "{}\n", line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
  }

 private:
  bool json_;
};

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
      fmt::format("http://{}:{}", options.host.contains(':') ? "[" + options.host + "]" : options.host, service.port());
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

/// Blocks the signals that end the server, for this thread and all that it starts.
sigset_t block_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
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

/// Answers until a signal; a second one ends the process at once.
void run_until_signal(serve::Service& service, const sigset_t& signals, const ServeOptions& options) {
  std::thread serving([&] { service.run(); });
  int number = 0;
  sigwait(&signals, &number);
  fmt::print(stderr, "lamina: ending; what runs has {} s\n", options.drain_seconds);
  std::signal(number, SIG_DFL);
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  service.stop(std::chrono::seconds(options.drain_seconds));
  serving.join();
}

Status serve_command(const ServeOptions& options) {
  LAMINA_ASSIGN(const std::vector<std::string> keys, read_keys(options));
  const bool local = is_loopback(options.host);
  if (!local && keys.empty() && !options.without_key) {
    return fail(ErrorCode::kInvalid, "--host",
                "{} can be reached by others; --api-key, or --without-key to let everybody in, expected", options.host);
  }
  const sigset_t signals = block_signals();
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
  serve::ServiceOptions service_options{.keys = keys,
                                        .origins = options.origins,
                                        .checks_host = local && keys.empty(),
                                        .sessions = options.sessions,
                                        .scheduler = {.queue = options.queue,
                                                      .pace = {.max_gap_seconds = options.max_gap_ms / 1e3},
                                                      .unload_idle = std::chrono::seconds(options.unload_idle)},
                                        .http = {.connections = options.connections}};
  if (options.log != "off") service_options.log = RequestLog(options.log == "json");
  serve::Service service(models, std::move(service_options));
  LAMINA_CHECK_OK(service.bind(options.host, options.port));
  print_start(options, service, loaded, pool->threads());
  run_until_signal(service, signals, options);
  return {};
}

}  // namespace

void add_serve(CLI::App& app, int& exit_status) {
  auto options = std::make_shared<ServeOptions>();
  CLI::App* command = add_command(app, "serve", "answer HTTP requests as OpenAI's clients send them",
                                  "  lamina serve smollm2-135m\n"
                                  "  lamina serve chat=smollm2-135m minilm-l6 --port 9000\n"
                                  "  lamina serve model.gguf --host 0.0.0.0 --api-key-file keys.txt");
  command
      ->add_option("MODEL", options->models,
                   "models, each a file, a folder or a name in the store; NAME=MODEL names it, "
                   "MODEL?parallel=4&ctx=2048&cache-tokens=8192&recipe=... gives it limits of its own")
      ->required();
  CommonOptions& common = options->common;
  command->add_option("--recipe", common.recipe, "techniques to apply to every model; see `lamina techniques`");
  command->add_option("--threads", common.threads, "threads; as many as this process may use by default")
      ->check(CLI::Range(1, 256));
  command->add_option("--ctx", common.context, "positions that a text and its answer may have; 4096 by default")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24));
  command->add_option("--activations", common.activations, "int8 (fast) or f32 (exact, slow)")
      ->check(CLI::IsMember({"int8", "f32"}));
  command->add_option("--host", options->host, "the address to listen on")->capture_default_str();
  command->add_option("--port", options->port, "0: any free one")->capture_default_str()->check(CLI::Range(0, 65535));
  command->add_option("--api-key", options->keys, "requests must carry it (may be repeated)")->allow_extra_args(false);
  command->add_option("--api-key-file", options->key_file, "a file with such keys, one a line");
  command->add_flag("--without-key", options->without_key, "listen on other addresses without any key");
  command->add_option("--parallel", options->parallel, "texts that are written at once")
      ->capture_default_str()
      ->check(CLI::Range(1, kMostParallel));
  command->add_option("--queue", options->queue, "texts that may wait for each model; more are refused with 429")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20));
  CLI::Option* cache_tokens =
      command->add_option("--cache-tokens", options->cache_tokens, "positions of all texts together; 32768 by default")
          ->check(CLI::Range(int64_t{64}, int64_t{1} << 32));
  command->add_option("--cache-bytes", options->cache_bytes, "the same as a size, such as 512MiB, for each model")
      ->transform(CLI::AsSizeValue(false))
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 50))
      ->excludes(cache_tokens);
  command
      ->add_option("--max-token-gap-ms", options->max_gap_ms,
                   "between two tokens while long prompts are read; three times a plain step by default")
      ->check(CLI::Range(0.0, 1e6));
  command
      ->add_option("--unload-idle", options->unload_idle,
                   "seconds after which a model that nobody asks leaves memory; the next request loads it again")
      ->check(CLI::Range(1, 1 << 30));
  command->add_option("--sessions", options->sessions, "a folder in which /admin/sessions saves texts that are kept")
      ->check(CLI::ExistingDirectory);
  command->add_option("--cors", options->origins, "an origin whose pages may ask, or * (may be repeated)")
      ->allow_extra_args(false);
  command->add_option("--connections", options->connections, "open at once")
      ->capture_default_str()
      ->check(CLI::Range(1, 65536));
  command->add_option("--drain", options->drain_seconds, "seconds that running requests have when the server ends")
      ->capture_default_str()
      ->check(CLI::Range(0, 3600));
  command->add_option("--log", options->log, "a line for each request: text, json or off")
      ->capture_default_str()
      ->check(CLI::IsMember({"text", "json", "off"}));
  add_json_option(*command, common.json);
  command->callback([options, &exit_status] { exit_status = exit_status_of(serve_command(*options)); });
}

}  // namespace lamina::app
