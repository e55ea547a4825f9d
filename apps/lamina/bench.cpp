#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <memory>

#include "lamina/commands.h"
#include "lamina/draft.h"
#include "lamina/profile.h"
#include "lamina/session.h"
#include "run/machine.h"
#include "run/random.h"
#include "run/route_cost.h"

namespace lamina::app {

namespace {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

constexpr int64_t kStepRows = 512;
constexpr int64_t kMaxTests = 1000;

struct BenchOptions {
  CommonOptions common;
  std::vector<int64_t> prompt{512};
  std::vector<int64_t> generate{128};
  std::vector<int64_t> depth{0};
  std::vector<int32_t> batch{1};
  int rounds = 5;
  std::string text;
  bool profile = false;
  std::string trace;

  bool profiled() const { return profile || !trace.empty(); }
};

/// One row of the report: reading `tokens` tokens, or generating them, in each of `batch` sequences that hold `depth`.
struct Test {
  bool prompt = true;
  int64_t tokens = 0;
  int64_t depth = 0;
  int32_t batch = 1;

  std::string name() const { return fmt::format("{}{}", prompt ? "pp" : "tg", tokens); }
};

/// What a test showed; shares are of what the machine was measured to reach: reading around each round, for its speed
/// changes on a shared machine.
struct Row {
  Test test;
  double median_tps = 0;
  double min_tps = 0;
  double max_tps = 0;
  std::optional<double> bandwidth_share;  ///< of generating alone, a token a step
  double peak_share = 0;
  std::optional<run::DraftCounts> drafts{};
};

/// The rounds that were run with a profile, in turn with those that were not.
struct Profiled {
  layers::Profile profile;
  std::vector<double> rates;
  double seconds = 0;  ///< of the rounds by the clock

  const layers::StepSums& sums(const Test& test) const {
    return profile.sums(test.prompt ? layers::StepKind::kReading : layers::StepKind::kWriting);
  }
  /// Part of the time that the operations explain.
  double explained(const Test& test) const { return seconds > 0 ? sums(test).seconds / seconds : 0; }
};

Result<std::vector<Test>> list_tests(const BenchOptions& options) {
  std::vector<Test> tests;
  for (const int64_t depth : options.depth) {
    for (const int32_t batch : options.batch) {
      for (const int64_t tokens : options.prompt) tests.push_back({true, tokens, depth, batch});
      for (const int64_t tokens : options.generate) tests.push_back({false, tokens, depth, batch});
    }
  }
  std::erase_if(tests, [](const Test& test) { return test.tokens == 0; });
  if (tests.empty() || static_cast<int64_t>(tests.size()) > kMaxTests) {
    return fail(ErrorCode::kInvalid, "bench", "{} tests; 1 to {} from -p, -n, -d and -b expected", tests.size(),
                kMaxTests);
  }
  return tests;
}

/// What all tests need together; -d 0 and --ctx leave as much room as the longest test takes.
Result<SessionNeeds> needs_of(std::span<const Test> tests, const CommonOptions& common, const models::Model& model) {
  SessionNeeds needs{.context = 1, .sequences = 1, .max_rows = kStepRows, .tokenizer = false, .drafts = true};
  for (const Test& test : tests) {
    // A text that is written has a first token before, and one after.
    needs.context = std::max(needs.context, std::max(test.depth, int64_t{test.prompt ? 0 : 1}) + test.tokens);
    needs.sequences = std::max(needs.sequences, test.batch);
  }
  needs.max_rows = std::max<int64_t>(needs.max_rows, needs.sequences);
  const int64_t most = common.context > 0 ? std::min(common.context, model.context()) : model.context();
  if (needs.context <= most) return needs;
  return fail(ErrorCode::kLimit, "bench", "depth and tokens make {} positions; at most {} expected", needs.context,
              most);
}

/// Feeds random tokens to open sequences, as fast as the runner takes them.
class Feeder {
 public:
  Feeder(run::Runner& runner, int32_t batch)
      : runner_(runner), logits_(static_cast<size_t>(batch) * static_cast<size_t>(runner.model().vocabulary())) {
    rows_.reserve(static_cast<size_t>(runner.options().max_rows));
  }
  ~Feeder() {
    for (const cache::SequenceId sequence : sequences_) runner_.close(sequence);
  }
  Feeder(const Feeder&) = delete;
  Feeder& operator=(const Feeder&) = delete;

  Status open(int32_t batch) {
    for (int32_t i = 0; i < batch; ++i) {
      LAMINA_ASSIGN(const cache::SequenceId sequence, runner_.open());
      sequences_.push_back(sequence);
    }
    return {};
  }

  /// Brings every sequence back to that length; what cannot be rewound is read again.
  Status rewind(int64_t length) {
    for (const cache::SequenceId sequence : sequences_) {
      const int64_t remains = runner_.truncate(sequence, length);
      LAMINA_CHECK_OK(read_one(sequence, length - remains));
    }
    return rows_.empty() ? Status() : step();
  }

  /// `tokens` tokens to each sequence, one sequence after the other, in full steps; logits of the last of each.
  Status read(int64_t tokens) {
    for (const cache::SequenceId sequence : sequences_) LAMINA_CHECK_OK(read_one(sequence, tokens));
    return rows_.empty() ? Status() : step();
  }

  /// `tokens` steps with one token of each sequence.
  Status generate(int64_t tokens) {
    for (int64_t i = 0; i < tokens; ++i) {
      for (const cache::SequenceId sequence : sequences_) add(sequence, true);
      LAMINA_CHECK_OK(step());
    }
    return {};
  }

 private:
  Status read_one(cache::SequenceId sequence, int64_t tokens) {
    for (int64_t i = 0; i < tokens; ++i) {
      add(sequence, i + 1 == tokens);
      if (static_cast<int64_t>(rows_.size()) == runner_.options().max_rows) LAMINA_CHECK_OK(step());
    }
    return {};
  }

  void add(cache::SequenceId sequence, bool wants_logits) {
    const auto vocabulary = static_cast<uint64_t>(runner_.model().vocabulary());
    rows_.push_back({.token = static_cast<int32_t>(run::random_bits(0, drawn_++) % vocabulary),
                     .sequence = sequence,
                     .wants_logits = wants_logits});
  }

  Status step() {
    const Status status = runner_.step(rows_, logits_);
    rows_.clear();
    return status;
  }

  run::Runner& runner_;
  std::vector<cache::SequenceId> sequences_;
  std::vector<run::BatchRow> rows_;
  std::vector<float> logits_;
  uint64_t drawn_ = 0;
};

/// What texts that are written have before.
class Texts {
 public:
  explicit Texts(int64_t vocabulary) : vocabulary_(vocabulary) {}

  /// From now on, the tokens of a file.
  Status read(const std::string& path, const text::Tokenizer& tokenizer) {
    LAMINA_ASSIGN(const std::string text, read_file(path));
    LAMINA_ASSIGN(tokens_, tokenizer.encode(text, {.add_special = false, .parse_special = false}));
    place_ = path;
    return {};
  }
  bool from_file() const { return !place_.empty(); }

  /// The first `count`; without a file, random ones.
  Result<std::vector<int32_t>> first(int64_t count) const {
    if (from_file() && std::ssize(tokens_) < count) {
      return fail(ErrorCode::kInvalid, place_, "{} tokens; {} wanted by -d", tokens_.size(), count);
    }
    std::vector<int32_t> tokens(tokens_.begin(), tokens_.begin() + (from_file() ? count : 0));
    while (std::ssize(tokens) < count)
      tokens.push_back(static_cast<int32_t>(run::random_bits(0, tokens.size()) % static_cast<uint64_t>(vocabulary_)));
    return tokens;
  }

 private:
  int64_t vocabulary_;
  std::string place_;
  std::vector<int32_t> tokens_;
};

/// Lets the model write on from a text, in several sequences at once, as `run` would: the likeliest token each time.
class Author {
 public:
  Author(Session& session, std::vector<int32_t> prompt) : session_(session), prompt_(std::move(prompt)) {}
  ~Author() {
    for (const cache::SequenceId sequence : sequences_) session_.runner->close(sequence);
  }
  Author(const Author&) = delete;
  Author& operator=(const Author&) = delete;

  Status open(int32_t batch) {
    for (int32_t i = 0; i < batch; ++i) {
      LAMINA_ASSIGN(const cache::SequenceId sequence, session_.runner->open());
      sequences_.push_back(sequence);
    }
    return {};
  }

  /// Seconds that `tokens` tokens of each sequence take after its first one.
  Result<double> write(int64_t tokens) {
    run::Engine engine(*session_.runner, nullptr, session_.speculation.get());
    for (const cache::SequenceId sequence : sequences_) {
      LAMINA_CHECK_OK(engine.submit({.prompt = prompt_,
                                     .sampling = {.temperature = 0},
                                     .max_tokens = tokens + 1,
                                     .stops = {},
                                     .ignore_end = true,
                                     .sink = {}},
                                    sequence));
    }
    while (written(engine, true) == 0) LAMINA_CHECK_OK(engine.step());
    const int64_t before = written(engine, false);
    const core::Stopwatch watch;
    LAMINA_CHECK_OK(engine.finish());
    const int64_t after = written(engine, false);
    return watch.seconds() * static_cast<double>(tokens * std::ssize(sequences_)) /
           static_cast<double>(std::max<int64_t>(1, after - before));
  }

 private:
  /// Tokens of all sequences, or of the one that has the fewest.
  int64_t written(const run::Engine& engine, bool fewest) const {
    int64_t sum = 0;
    int64_t least = prompt_.empty() ? 0 : std::numeric_limits<int64_t>::max();
    for (size_t i = 0; i < sequences_.size(); ++i) {
      const int64_t count = std::ssize(engine.result(i).tokens);
      sum += count;
      least = std::min(least, count);
    }
    return fewest ? least : sum;
  }

  Session& session_;
  std::vector<int32_t> prompt_;
  std::vector<cache::SequenceId> sequences_;
};

/// Of every timed round: tokens per second, and the bytes per second that memory gave just before and after it.
struct Rounds {
  std::vector<double> rates;
  std::vector<double> reads;
};

/// Seconds that a round of so many tokens takes, recorded in a profile unless that is null.
using TimeRound = std::function<Result<double>(int64_t tokens, layers::Profile* profile)>;

/// Times rounds, after one that is not timed. With a profile, each round is run a second time for it.
Result<Rounds> time_rounds(const TimeRound& time_round, const Test& test, int rounds, run::ReadMeter& meter,
                           Profiled* profiled) {
  Rounds out;
  const auto rate = [&](double seconds) { return static_cast<double>(test.tokens * test.batch) / seconds; };
  const int64_t warm_up = std::min<int64_t>(test.tokens, test.prompt ? kStepRows : 8);
  for (int round = 0; round < rounds; ++round) {
    const double before = meter.pass();
    LAMINA_CHECK_OK(time_round(warm_up, nullptr));
    LAMINA_ASSIGN(const double seconds, time_round(test.tokens, nullptr));
    out.rates.push_back(rate(seconds));
    out.reads.push_back((before + meter.pass()) / 2);
    if (profiled == nullptr) continue;
    LAMINA_ASSIGN(const double profiled_seconds, time_round(test.tokens, &profiled->profile));
    profiled->rates.push_back(rate(profiled_seconds));
    profiled->seconds += profiled_seconds;
  }
  return out;
}

/// Rounds of tokens that nobody chose.
Result<Rounds> time_fed(run::Runner& runner, const Test& test, int rounds, run::ReadMeter& meter, Profiled* profiled) {
  Feeder feeder(runner, test.batch);
  LAMINA_CHECK_OK(feeder.open(test.batch));
  LAMINA_CHECK_OK(feeder.read(test.depth));
  const TimeRound time_round = [&](int64_t tokens, layers::Profile* profile) -> Result<double> {
    LAMINA_CHECK_OK(feeder.rewind(test.depth));
    runner.set_profile(profile);
    const core::Stopwatch watch;
    LAMINA_CHECK_OK(test.prompt ? feeder.read(tokens) : feeder.generate(tokens));
    runner.set_profile(nullptr);
    return watch.seconds();
  };
  return time_rounds(time_round, test, rounds, meter, profiled);
}

/// Rounds of text that the model writes.
Result<Rounds> time_written(Session& session, const Texts& texts, const Test& test, int rounds, run::ReadMeter& meter,
                            Profiled* profiled) {
  LAMINA_ASSIGN(std::vector<int32_t> prompt, texts.first(std::max<int64_t>(1, test.depth)));
  Author author(session, std::move(prompt));
  LAMINA_CHECK_OK(author.open(test.batch));
  const TimeRound time_round = [&](int64_t tokens, layers::Profile* profile) -> Result<double> {
    session.runner->set_profile(profile);
    auto seconds = author.write(tokens);
    session.runner->set_profile(nullptr);
    return seconds;
  };
  return time_rounds(time_round, test, rounds, meter, profiled);
}

run::DraftCounts since(const run::DraftCounts& now, const run::DraftCounts& before) {
  return {.drafted = now.drafted - before.drafted,
          .accepted = now.accepted - before.accepted,
          .steps = now.steps - before.steps,
          .plain = now.plain - before.plain,
          .seconds = now.seconds - before.seconds};
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

/// Bytes that a step of generating must read: the route's weights once, of experts those that are used, each sequence's
/// cache at its mean length.
double step_bytes(const Test& test, const run::RouteCost& cost) {
  const double positions = static_cast<double>(test.depth) + static_cast<double>(test.tokens + 1) / 2;
  const double sequence = cost.cache_bytes(positions) + static_cast<double>(cost.state_bytes);
  return cost.weight_bytes(test.batch) + test.batch * sequence;
}

/// Seconds that the products of a test take at the machine's peaks, two operations per weight and row.
double least_seconds(const Test& test, const run::RouteCost& cost, const run::MachinePeaks& peaks) {
  const auto rows = static_cast<double>(test.tokens * test.batch);
  const double logits = test.prompt ? test.batch : rows;
  const auto operations = [&](int64_t layers, int64_t head) {
    return 2 * (rows * static_cast<double>(layers) + logits * static_cast<double>(head));
  };
  return operations(cost.layers.int8, cost.head.int8) / peaks.best_int8() +
         operations(cost.layers.float32, cost.head.float32) / peaks.float32;
}

Row make_row(const Test& test, const Rounds& rounds, const run::RouteCost& cost, const run::MachinePeaks& peaks,
             const std::optional<run::DraftCounts>& drafts) {
  Row row{.test = test,
          .median_tps = median(rounds.rates),
          .min_tps = std::ranges::min(rounds.rates),
          .max_tps = std::ranges::max(rounds.rates),
          .bandwidth_share = {},
          .drafts = drafts};
  const double seconds = static_cast<double>(test.tokens * test.batch) / row.median_tps;
  if (!test.prompt && !drafts) {
    std::vector<double> shares;
    for (size_t i = 0; i < rounds.rates.size(); ++i)
      shares.push_back(step_bytes(test, cost) * rounds.rates[i] / test.batch / rounds.reads[i]);
    row.bandwidth_share = median(shares);
  }
  row.peak_share = least_seconds(test, cost, peaks) / seconds;
  return row;
}

nlohmann::ordered_json json_of(const Row& row, const Session& session, const BenchOptions& options,
                               std::string_view isa) {
  nlohmann::ordered_json out{{"test", row.test.name()},
                             {"tokens", row.test.tokens},
                             {"depth", row.test.depth},
                             {"batch", row.test.batch},
                             {"threads", session.pool->threads()},
                             {"median_tps", row.median_tps},
                             {"min_tps", row.min_tps},
                             {"max_tps", row.max_tps},
                             {"bandwidth_share", nullptr},
                             {"peak_share", row.peak_share},
                             {"isa", isa},
                             {"recipe", options.common.recipe}};
  if (row.bandwidth_share) out["bandwidth_share"] = *row.bandwidth_share;
  if (row.drafts) out["draft"] = draft_json(*row.drafts);
  return out;
}

void print_head(const Session& session, const BenchOptions& options, const run::RouteCost& cost,
                const run::MachinePeaks& peaks) {
  fmt::print("{}, {} threads, {}, activations {}, recipe \"{}\"\n", options.common.model, session.pool->threads(),
             cost.isa, options.common.activations, options.common.recipe);
  fmt::print("machine: reads {:.1f} GB/s, float32 {:.0f} and int8 {:.0f} billion operations/s\n\n",
             peaks.read_bytes / 1e9, peaks.float32 / 1e9, peaks.best_int8() / 1e9);
  fmt::print("{:<10} {:>7} {:>6} {:>10} {:>10} {:>10} {:>10} {:>6}\n", "test", "depth", "batch", "tokens/s", "least",
             "most", "bandwidth", "peak");
}

void print_row(const Row& row) {
  const std::string bandwidth =
      row.bandwidth_share ? fmt::format("{:.1f} %", 100 * *row.bandwidth_share) : std::string("-");
  fmt::print("{:<10} {:>7} {:>6} {:>10.1f} {:>10.1f} {:>10.1f} {:>10} {:>4.1f} %\n", row.test.name(), row.test.depth,
             row.test.batch, row.median_tps, row.min_tps, row.max_tps, bandwidth, 100 * row.peak_share);
  if (row.drafts) fmt::print("  {}\n", draft_text(*row.drafts));
  std::fflush(stdout);
}

/// What profiling costs: how much slower its rounds were.
double profile_cost(const std::vector<double>& rates, const Profiled& profiled) {
  return 1 - median(profiled.rates) / median(rates);
}

nlohmann::ordered_json json_of(const Test& test, const std::vector<double>& rates, const Profiled& profiled,
                               const run::MachinePeaks& peaks) {
  nlohmann::ordered_json out = profile_json(profiled.sums(test), peaks);
  out["explained"] = profiled.explained(test);
  out["cost"] = profile_cost(rates, profiled);
  return out;
}

void print_profiled(const Test& test, const std::vector<double>& rates, const Profiled& profiled,
                    const run::MachinePeaks& peaks) {
  const layers::StepSums& sums = profiled.sums(test);
  fmt::print("\n  {} steps of {:.3f} ms; {:.2f} % of the time is explained, profiling costs {:.2f} %\n", sums.steps,
             1e3 * sums.seconds / static_cast<double>(std::max<int64_t>(sums.steps, 1)), 100 * profiled.explained(test),
             100 * profile_cost(rates, profiled));
  print_profile(sums, peaks);
  fmt::print("\n");
}

Status bench_command(const BenchOptions& options) {
  LAMINA_ASSIGN(const std::vector<Test> tests, list_tests(options));
  LAMINA_ASSIGN(Session session, prepare_session(options.common, !options.text.empty()));
  LAMINA_ASSIGN(const SessionNeeds needs, needs_of(tests, options.common, *session.model));
  LAMINA_CHECK_OK(start_session(session, options.common, needs));
  LAMINA_ASSIGN(session.speculation, open_speculation(session, options.common));
  Texts texts(session.model->vocabulary());
  if (!options.text.empty()) LAMINA_CHECK_OK(texts.read(options.text, *session.tokenizer));
  for (const Test& test : tests) {
    if (!test.prompt) LAMINA_CHECK_OK(texts.first(std::max<int64_t>(1, test.depth)));
  }
  LAMINA_ASSIGN(run::ReadMeter meter, run::ReadMeter::create(*session.pool));
  const run::MachinePeaks peaks = run::measure_peaks(*session.pool, meter);
  const run::RouteCost cost = run::route_cost(*session.runner);
  if (!options.common.json) print_head(session, options, cost, peaks);
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  Trace trace;
  for (const Test& test : tests) {
    Profiled profiled;
    Profiled* profile = options.profiled() ? &profiled : nullptr;
    const bool writes = !test.prompt && (session.speculation || texts.from_file());
    const run::DraftCounts before = session.speculation ? session.speculation->counts() : run::DraftCounts{};
    LAMINA_ASSIGN(const Rounds rounds, writes ? time_written(session, texts, test, options.rounds, meter, profile)
                                              : time_fed(*session.runner, test, options.rounds, meter, profile));
    std::optional<run::DraftCounts> drafts;
    if (writes && session.speculation) drafts = since(session.speculation->counts(), before);
    const Row row = make_row(test, rounds, cost, peaks, drafts);
    rows.push_back(json_of(row, session, options, cost.isa));
    if (!options.common.json) print_row(row);
    trace.add(fmt::format("{} d{} b{}", test.name(), test.depth, test.batch), profiled.profile);
    if (!options.profile) continue;
    if (options.common.json) rows.back()["profile"] = json_of(test, rounds.rates, profiled, peaks);
    if (!options.common.json) print_profiled(test, rounds.rates, profiled, peaks);
  }
  if (!options.trace.empty()) LAMINA_CHECK_OK(trace.write(options.trace));
  if (!options.common.json) return {};
  print_json(
      {{"model", options.common.model},
       {"activations", options.common.activations},
       {"load_ms", 1e3 * session.load_seconds},
       {"machine",
        {{"read_bytes_per_s", peaks.read_bytes}, {"float32_per_s", peaks.float32}, {"int8_per_s", peaks.best_int8()}}},
       {"rows", std::move(rows)}});
  return {};
}

}  // namespace

void add_bench(CLI::App& app, int& exit_status) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* command = add_command(app, "bench", "measure speed: reading a prompt, and generating",
                                  "  lamina bench smollm2-135m\n"
                                  "  lamina bench model.gguf -p 512,2048 -n 128 -d 0,4096 -b 1,8 --threads 4 --json");
  add_model_options(*command, options->common);
  constexpr int64_t kMost = int64_t{1} << 24;
  command->add_option("-p", options->prompt, "prompt tokens to read; 0: no such test")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(int64_t{0}, kMost));
  command->add_option("-n", options->generate, "tokens to generate; 0: no such test")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(int64_t{0}, kMost));
  command->add_option("-d", options->depth, "tokens that are in the cache already")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(int64_t{0}, kMost));
  command->add_option("-b", options->batch, "sequences at once")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(1, 4096));
  command->add_option("-r", options->rounds, "timed rounds of each test")->check(CLI::Range(1, 10000));
  command->add_option(
      "--text", options->text,
      "what the cache holds is the begin of this text (-d tokens of it, at least one), and generating is "
      "writing on from there: for drafts, whose speed depends on the text");
  add_profile_options(*command, options->profile, options->trace);
  command->callback([options, &exit_status] { exit_status = exit_status_of(bench_command(*options)); });
}

}  // namespace lamina::app
