#include <fmt/format.h>

#include <atomic>
#include <cmath>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <thread>

#include "core/clock.h"
#include "lamina/cli.h"
#include "lamina/commands.h"
#include "lamina/download.h"
#include "lamina/load_report.h"

namespace lamina::app {

namespace {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;
using nlohmann::json;

constexpr int kMostThreads = 4096;

struct LoadOptions {
  std::string url;
  std::string route = "chat";
  std::string model;
  std::string key;
  std::string file;
  int64_t requests = 32;
  int concurrency = 1;
  double rate = 0;
  std::string arrivals = "poisson";
  double seconds = 0;
  int64_t words = 64;
  int64_t least_words = 0;
  int64_t shared_words = 0;
  int64_t batch = 1;
  int64_t tokens = 64;
  double timeout = 600;
  uint64_t seed = 0;
  LoadLimits limits;
  double first_ms = 0;
  double gap_ms = 0;
  double end_ms = 0;
  bool plain = false;
  bool each = false;
  bool json = false;
};

/// Words that most vocabularies have as a token or two.
constexpr std::string_view kWords[] = {"time",   "river",  "stone",  "house",  "light",  "green",  "music",  "paper",
                                       "water",  "north",  "table",  "horse",  "bread",  "cloud",  "train",  "glass",
                                       "dream",  "field",  "night",  "chair",  "plant",  "story",  "metal",  "ocean",
                                       "bridge", "winter", "garden", "letter", "market", "silver", "window", "yellow"};

/// Bodies of requests: those of a file by turns, or made up from random words.
class Bodies {
 public:
  static Result<Bodies> create(const LoadOptions& options) {
    Bodies bodies(options);
    if (options.file.empty()) {
      std::mt19937_64 random(options.seed);
      bodies.shared_ = words(random, options.shared_words);
      return bodies;
    }
    LAMINA_ASSIGN(const std::string text, read_file(options.file));
    int line = 0;
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      ++line;
      if (end > begin) {
        json body = json::parse(text.substr(begin, end - begin), nullptr, false);
        if (!body.is_object())
          return fail(ErrorCode::kInvalid, fmt::format("{}:{}", options.file, line), "a JSON object expected");
        bodies.read_.push_back(std::move(body));
      }
      begin = end + 1;
    }
    if (bodies.read_.empty())
      return fail(ErrorCode::kInvalid, options.file, "it is empty; a request's body a line expected");
    return bodies;
  }

  /// Of a file's bodies as many as there are, unless the user says otherwise.
  int64_t count(bool given) const { return given || read_.empty() ? options_.requests : std::ssize(read_); }

  /// The body of request `index`, the same in every run.
  json body(int64_t index) const {
    json body = read_.empty() ? made(index) : read_[static_cast<size_t>(index) % read_.size()];
    if (!options_.model.empty()) body["model"] = options_.model;
    if (options_.route != "chat" && options_.route != "completions") return body;
    if (!body.contains("stream")) body["stream"] = true;
    if (body["stream"] == true && !body.contains("stream_options")) body["stream_options"] = {{"include_usage", true}};
    return body;
  }

 private:
  explicit Bodies(const LoadOptions& options) : options_(options) {}

  static std::string words(std::mt19937_64& random, int64_t count) {
    std::string text;
    for (int64_t i = 0; i < count; ++i) {
      text += text.empty() ? "" : " ";
      text += kWords[random() % std::size(kWords)];
    }
    return text;
  }

  json made(int64_t index) const {
    std::mt19937_64 random(options_.seed * 1'000'003 + static_cast<uint64_t>(index) + 1);
    const auto text = [&] {
      const int64_t least = options_.least_words > 0 ? std::min(options_.least_words, options_.words) : options_.words;
      const int64_t count = least + static_cast<int64_t>(random() % static_cast<uint64_t>(options_.words - least + 1));
      return shared_ + (shared_.empty() ? "" : " ") + words(random, count);
    };
    if (options_.route == "embeddings") {
      json input = json::array();
      for (int64_t i = 0; i < options_.batch; ++i) input.push_back(text());
      return {{"input", std::move(input)}};
    }
    json body{{"max_tokens", options_.tokens}, {"temperature", 0}};
    if (!options_.plain) body["ignore_eos"] = true;
    if (options_.route == "completions") {
      body["prompt"] = text();
    } else {
      body["messages"] = json::array({{{"role", "user"}, {"content", text()}}});
    }
    return body;
  }

  const LoadOptions& options_;
  std::vector<json> read_;
  std::string shared_;
};

/// Sends requests from threads and collects what they bring.
class LoadTest {
 public:
  LoadTest(const LoadOptions& options, const Bodies& bodies, LoadTarget target, int64_t requests)
      : options_(options), bodies_(bodies), target_(std::move(target)), requests_(requests) {}

  std::vector<LoadResult> run() {
    make_times();
    std::vector<std::thread> threads;
    const int64_t most = options_.rate > 0 ? std::min<int64_t>(requests_, kMostThreads) : options_.concurrency;
    for (int64_t i = 0; i < std::min(most, requests_); ++i) threads.emplace_back([this] { work(); });
    for (std::thread& thread : threads) thread.join();
    return std::move(results_);
  }
  double seconds() const { return clock_.seconds(); }

 private:
  /// When requests are due in an open loop, whatever has become of those before them.
  void make_times() {
    if (options_.rate <= 0) return;
    std::mt19937_64 random(options_.seed);
    std::exponential_distribution<double> pause(options_.rate);
    double at = 0;
    for (int64_t i = 0; i < requests_; ++i) {
      due_.push_back(at);
      at += options_.arrivals == "poisson" ? pause(random) : 1 / options_.rate;
    }
  }

  void work() {
    LoadClient client(target_);
    while (true) {
      const int64_t index = next_++;
      if (index >= requests_ || (options_.seconds > 0 && clock_.seconds() >= options_.seconds)) return;
      const json body = bodies_.body(index);
      double due = clock_.seconds();
      if (!due_.empty()) {
        const double wanted = due_[static_cast<size_t>(index)];
        if (options_.seconds > 0 && wanted >= options_.seconds) return;
        if (wanted > due) std::this_thread::sleep_for(std::chrono::duration<double>(wanted - due));
        due = wanted;
      }
      LoadResult result = client.send(body, due, [this] { return clock_.seconds(); });
      const std::lock_guard lock(mutex_);
      results_.push_back(std::move(result));
    }
  }

  const LoadOptions& options_;
  const Bodies& bodies_;
  LoadTarget target_;
  int64_t requests_;
  std::vector<double> due_;
  std::atomic<int64_t> next_{0};
  core::Stopwatch clock_;
  std::mutex mutex_;
  std::vector<LoadResult> results_;
};

std::string path_of(const std::string& route) {
  return route == "chat" ? "/v1/chat/completions" : "/v1/" + route;
}

Status load_command(LoadOptions& options, bool requests_given) {
  LAMINA_ASSIGN(const Url url, parse_url(options.url));
  for (const char* route : {"completions", "embeddings", "chat"}) {
    if (url.target.ends_with(path_of(route))) options.route = route;
  }
  LAMINA_ASSIGN(const Bodies bodies, Bodies::create(options));
  LoadTarget target{.origin = url.origin, .path = url.target, .key = options.key, .timeout = options.timeout};
  // An address without a path is a server's; else it is the route's own.
  if (target.path == "/") target.path = path_of(options.route);
  options.limits = {.first_seconds = options.first_ms / 1e3,
                    .gap_seconds = options.gap_ms / 1e3,
                    .end_seconds = options.end_ms / 1e3};
  const bool endless = options.seconds > 0 && !requests_given && options.file.empty();
  LoadTest test(options, bodies, std::move(target), endless ? int64_t{1} << 20 : bodies.count(requests_given));
  std::vector<LoadResult> results = test.run();
  const double seconds = test.seconds();
  if (results.empty()) return fail(ErrorCode::kInvalid, "load", "no request was sent; a longer --seconds would");
  std::ranges::sort(results, {}, &LoadResult::due);
  const auto report = load_report(results, seconds, options.limits, options.each);
  if (options.json) {
    print_json(report);
  } else {
    fmt::print("{}", load_text(report));
  }
  if (report["answered"] == 0) return fail(ErrorCode::kIo, options.url, "no request was answered");
  return {};
}

void add_shape(CLI::App& command, LoadOptions& options) {
  command.add_option("--route", options.route, "what made-up requests ask for")
      ->capture_default_str()
      ->check(CLI::IsMember({"chat", "completions", "embeddings"}));
  command.add_option("--model", options.model, "the model that requests name");
  command.add_option("--api-key", options.key, "the key that requests carry");
  command.add_option("--file", options.file, "bodies of requests, a JSON object a line, instead of made-up ones");
  command.add_option("--words", options.words, "of a made-up prompt or text")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command.add_option("--least-words", options.least_words, "lengths from here to --words, evenly")
      ->check(CLI::Range(1, 1 << 20));
  command.add_option("--shared-words", options.shared_words, "that all prompts begin with")
      ->check(CLI::Range(0, 1 << 20));
  command.add_option("--batch", options.batch, "texts of an embeddings request")
      ->capture_default_str()
      ->check(CLI::Range(1, 2048));
  command.add_option("--tokens", options.tokens, "to write for each made-up prompt")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command.add_flag("--plain", options.plain, "ask for nothing that OpenAI's interface lacks: answers may end early");
  command.add_option("--seed", options.seed, "of made-up texts and arrivals")->capture_default_str();
}

}  // namespace

void add_load(CLI::App& app, int& exit_status) {
  auto options = std::make_shared<LoadOptions>();
  CLI::App* command =
      add_command(app, "load", "send requests to a server and measure its answers",
                  "  lamina load http://127.0.0.1:8080 --concurrency 16 --requests 64\n"
                  "  lamina load http://127.0.0.1:8080 --rate 4 --seconds 60 --first-ms 500 --gap-ms 100\n"
                  "  lamina load http://127.0.0.1:8080/v1/completions --file requests.jsonl --json");
  command->add_option("URL", options->url, "a server that answers as OpenAI's do, or one of its routes")->required();
  add_shape(*command, *options);
  CLI::Option* requests = command->add_option("--requests", options->requests, "how many; a file's all by default")
                              ->capture_default_str()
                              ->check(CLI::Range(1, 1 << 20));
  CLI::Option* concurrency =
      command
          ->add_option("--concurrency", options->concurrency, "closed loop: so many at once, each after the last one")
          ->capture_default_str()
          ->check(CLI::Range(1, kMostThreads));
  command->add_option("--rate", options->rate, "open loop: so many a second, whether others are answered or not")
      ->check(CLI::Range(1e-3, 1e5))
      ->excludes(concurrency);
  command->add_option("--arrivals", options->arrivals, "of an open loop: at random, or evenly")
      ->capture_default_str()
      ->check(CLI::IsMember({"poisson", "even"}));
  command->add_option("--seconds", options->seconds, "send nothing after that long")->check(CLI::Range(0.1, 1e6));
  command->add_option("--timeout", options->timeout, "seconds without a byte before an answer counts as broken")
      ->capture_default_str()
      ->check(CLI::Range(1.0, 1e5));
  command->add_option("--first-ms", options->first_ms, "a good answer begins within that long")
      ->check(CLI::Range(0.1, 1e7));
  command->add_option("--gap-ms", options->gap_ms, "and never pauses longer")->check(CLI::Range(0.1, 1e7));
  command->add_option("--end-ms", options->end_ms, "and ends within that long")->check(CLI::Range(0.1, 1e7));
  command->add_flag("--each", options->each, "with --json: a row for every request");
  add_json_option(*command, options->json);
  command->callback([options, requests, &exit_status] {
    exit_status = exit_status_of(load_command(*options, requests->count() > 0));
  });
}

}  // namespace lamina::app
