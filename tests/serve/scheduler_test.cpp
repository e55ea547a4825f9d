// What a request gets depends on nobody else, whatever happens to the others.
#include "serve/scheduler.h"

#include <random>

#include "serve/events.h"
#include "serve/pace.h"
#include "serve/served.h"

namespace lamina::serve {
namespace {

struct Written {
  std::string text;
  std::vector<int32_t> tokens;
  std::vector<double> log_probabilities;
  std::optional<core::Error> error;
  bool operator==(const Written& other) const {
    return text == other.text && tokens == other.tokens && log_probabilities == other.log_probabilities;
  }
};

GenerationJob job_of(int number) {
  GenerationJob job{.prompt = {}, .sampling = {.temperature = 1.2F, .top_k = 0, .top_p = 1, .min_p = 0}};
  for (int i = 0; i < 3 + number * 17 % 120; ++i) job.prompt.push_back((i * 29 + number * 7) % 103);
  job.sampling.seed = static_cast<uint64_t>(number);
  if (number % 3 == 0) job.sampling.temperature = 0;
  job.max_tokens = 5 + number * 5 % 60;
  job.ignore_end = true;
  job.alternatives = 0;
  job.scores_prompt = number % 4 == 0;
  job.channel = std::make_shared<Channel>();
  return job;
}

/// All that comes through a channel until the end.
Written read_all(Channel& channel) {
  Written written;
  while (true) {
    auto event = channel.pop(std::chrono::milliseconds(120000));
    if (!event) {
      ADD_FAILURE() << "nothing came";
      return written;
    }
    written.text += event->text;
    for (const auto* list : {&event->prompt, &event->tokens}) {
      for (const ScoredToken& token : *list) {
        written.tokens.push_back(token.id);
        written.log_probabilities.push_back(token.log_probability.value_or(1));
      }
    }
    written.error = event->error;
    if (event->last) return written;
  }
}

/// A scheduler over one tiny model.
struct Engine {
  core::ThreadPool pool{1};
  std::vector<std::unique_ptr<ServedModel>> models;
  std::unique_ptr<Scheduler> scheduler;

  explicit Engine(const ModelOptions& options, const SchedulerOptions& limits = {}) {
    models.push_back(open_model(pool, options));
    scheduler = std::make_unique<Scheduler>(models, limits);
  }
  core::Status submit(const GenerationJob& job) { return scheduler->submit(0, std::vector<GenerationJob>{job}); }
  WorkerCounts counts() const { return scheduler->state(0).counts; }
  bool idle() const { return counts().running == 0 && counts().waiting == 0 && counts().cache_blocks_used == 0; }
};

/// Each job's answer when nobody else is there.
std::vector<Written> alone(const std::vector<GenerationJob>& jobs) {
  Engine engine({.parallel = 1});
  engine.scheduler->start();
  std::vector<Written> all;
  for (GenerationJob job : jobs) {
    job.channel = std::make_shared<Channel>();
    EXPECT_TRUE(engine.submit(job));
    all.push_back(read_all(*job.channel));
  }
  return all;
}

constexpr int kJobs = 40;

std::vector<GenerationJob> many_jobs() {
  std::vector<GenerationJob> jobs;
  for (int i = 0; i < kJobs; ++i) jobs.push_back(job_of(i));
  return jobs;
}

TEST(Scheduler, AloneAndUnderLoadAreTheSameBits) {
  const std::vector<Written> wanted = alone(many_jobs());
  // Room for all; steps of few rows; a cache that may run out.
  for (const ModelOptions& model : {ModelOptions{.parallel = 16}, ModelOptions{.parallel = 5, .max_rows = 7},
                                    ModelOptions{.parallel = 12, .cache_tokens = 256}}) {
    Engine engine(model);
    const std::vector<GenerationJob> jobs = many_jobs();
    for (const GenerationJob& job : jobs) ASSERT_TRUE(engine.submit(job));
    engine.scheduler->start();
    for (size_t i = 0; i < jobs.size(); ++i) EXPECT_TRUE(read_all(*jobs[i].channel) == wanted[i]) << i;
    EXPECT_TRUE(eventually([&] { return engine.idle(); }));
  }
}

TEST(Scheduler, GuessesChangeNothing) {
  const std::vector<Written> wanted = alone(many_jobs());
  for (const std::string recipe :
       {"draft:ngram(match=1,when=always)", "draft:route(skip=1,confidence=0,when=always)", "draft:ngram(match=1)"}) {
    for (const ModelOptions& model :
         {ModelOptions{.parallel = 16, .recipe = recipe}, ModelOptions{.parallel = 5, .max_rows = 11, .recipe = recipe},
          ModelOptions{.parallel = 12, .cache_tokens = 256, .recipe = recipe}}) {
      Engine engine(model);
      const std::vector<GenerationJob> jobs = many_jobs();
      for (const GenerationJob& job : jobs) ASSERT_TRUE(engine.submit(job));
      engine.scheduler->start();
      for (size_t i = 0; i < jobs.size(); ++i) EXPECT_TRUE(read_all(*jobs[i].channel) == wanted[i]) << recipe << i;
      EXPECT_TRUE(eventually([&] { return engine.idle(); }));
      const WorkerCounts counts = engine.counts();
      EXPECT_GE(counts.drafted_tokens, counts.accepted_tokens);
      if (recipe.ends_with("always)") && model.max_rows > 11) {
        EXPECT_GT(counts.accepted_tokens, 0) << recipe;
      }
    }
  }
}

/// A router that decides by chance, as far as prompts are concerned: about what is read of them before layer 0.
run::Router router_of(run::Router::Kind kind) {
  const int64_t hidden =
      models::Model::build(source_dir() / "tests/golden/models/qwen2/model.gguf", {.exact = true}).value()->hidden();
  run::Router router{.kind = kind, .model = "m", .hidden = hidden, .layers = {0}};
  std::mt19937 random(3);
  for (int64_t i = 0; i < router.outputs() * hidden; ++i)
    router.weights.push_back(static_cast<float>(static_cast<int>(random() % 201) - 100) / 100);
  router.offsets.resize(static_cast<size_t>(router.outputs()));
  return router;
}

/// Each job's answer by that router, or, of prompts that none reads, without.
std::vector<Written> alone_by(const std::optional<run::Router>& router, const std::vector<GenerationJob>& jobs,
                              const std::string& recipe = {}) {
  std::vector<Written> all;
  for (GenerationJob job : jobs) {
    Engine engine({.parallel = 1, .recipe = recipe, .router = router});
    engine.scheduler->start();
    job.channel = std::make_shared<Channel>();
    EXPECT_TRUE(engine.submit(job));
    all.push_back(read_all(*job.channel));
    EXPECT_FALSE(all.back().error) << all.back().error->text();
  }
  return all;
}

TEST(Scheduler, RoutersDecideForEachTextAlone) {
  for (const auto kind : {run::Router::Kind::kSkip, run::Router::Kind::kRepeat}) {
    const run::Router router = router_of(kind);
    const std::vector<Written> wanted = alone_by(router, many_jobs());
    const std::vector<Written> plain = alone_by({}, many_jobs());
    std::vector<std::vector<Written>> routes;
    for (const char* recipe : {"route:1", "route:0,0,1"}) routes.push_back(alone_by({}, many_jobs(), recipe));
    int changed = 0;
    for (size_t i = 0; i < wanted.size(); ++i) {
      if (wanted[i] == plain[i]) continue;
      ++changed;
      EXPECT_FALSE(many_jobs()[i].scores_prompt) << i;
      // A text that begins anew is that of its route; one that keeps what all layers have read is a thing of its own.
      const bool known = wanted[i] == routes[0][i] || wanted[i] == routes[1][i];
      EXPECT_TRUE(known || kind == run::Router::Kind::kSkip) << i;
    }
    EXPECT_GT(changed, 5);
    EXPECT_LT(changed, 28);
    for (const ModelOptions& model :
         {ModelOptions{.parallel = 16, .router = router}, ModelOptions{.parallel = 5, .max_rows = 7, .router = router},
          ModelOptions{.parallel = 12, .cache_tokens = 256, .router = router}}) {
      Engine engine(model);
      std::vector<GenerationJob> jobs = many_jobs();
      for (const GenerationJob& job : jobs) ASSERT_TRUE(engine.submit(job));
      engine.scheduler->start();
      for (size_t i = 0; i < jobs.size(); ++i) EXPECT_TRUE(read_all(*jobs[i].channel) == wanted[i]) << i;
      ASSERT_TRUE(eventually([&] { return engine.idle(); }));
      // And again, with what is kept of them.
      jobs = many_jobs();
      for (const GenerationJob& job : jobs) ASSERT_TRUE(engine.submit(job));
      for (size_t i = 0; i < jobs.size(); ++i) EXPECT_TRUE(read_all(*jobs[i].channel) == wanted[i]) << i;
      EXPECT_TRUE(eventually([&] { return engine.idle(); }));
    }
  }
}

TEST(Scheduler, EachTextIsGuessedAsItAsks) {
  std::vector<GenerationJob> jobs = many_jobs();
  const std::vector<Written> wanted = alone(jobs);
  Engine engine({.parallel = 8});
  const auto plan = [&](const std::string& text) {
    return std::make_shared<const recipe::DraftPlan>(*run::plan_recipe(text, *engine.models[0]->model)->draft);
  };
  const std::vector<std::string> drafts{"", "draft:ngram(match=1,tokens=3,when=always)",
                                        "draft:route(skip=0,tokens=2,confidence=0,when=always)"};
  for (size_t i = 0; i < jobs.size(); ++i) {
    jobs[i].draft = drafts[i % 3];
    if (i % 3 > 0) jobs[i].draft_plan = plan(drafts[i % 3]);
    ASSERT_TRUE(engine.submit(jobs[i]));
  }
  engine.scheduler->start();
  for (size_t i = 0; i < jobs.size(); ++i) EXPECT_TRUE(read_all(*jobs[i].channel) == wanted[i]) << i;
  EXPECT_TRUE(eventually([&] { return engine.idle(); }));
  EXPECT_GT(engine.counts().drafted_tokens, 0);
}

TEST(Scheduler, WhenTheCacheRunsOutTheYoungestWaitAndNobodyFails) {
  // A block each when they come in, four when they end, and no more than seven for all.
  std::vector<GenerationJob> jobs;
  for (int i = 0; i < 4; ++i) {
    jobs.push_back(job_of(i + 1));
    jobs.back().prompt.resize(60, 7);
    jobs.back().max_tokens = 150;
  }
  const std::vector<Written> wanted = alone(jobs);
  Engine engine({.parallel = 4, .cache_tokens = 256});
  for (const GenerationJob& job : jobs) ASSERT_TRUE(engine.submit(job));
  engine.scheduler->start();
  for (size_t i = 0; i < jobs.size(); ++i) EXPECT_TRUE(read_all(*jobs[i].channel) == wanted[i]) << i;
  EXPECT_TRUE(eventually([&] { return engine.idle(); }));
  EXPECT_GT(engine.counts().set_back, 0);
}

TEST(Scheduler, TextsThatBeginAlikeShareAndChangeNothing) {
  const auto job = [](int from, int count, int tail, const std::string& tenant) {
    GenerationJob one = job_of(1);
    one.prompt.clear();
    for (int i = 0; i < count; ++i) one.prompt.push_back((from + i * 29) % 103);
    for (int i = 0; i < tail; ++i) one.prompt.push_back((i * 7 + tail) % 103);
    one.max_tokens = 20;
    one.tenant = tenant;
    return one;
  };
  // Again; longer; shorter; another end; of another tenant; and all of it again.
  const std::vector<GenerationJob> jobs{job(0, 130, 0, "1"), job(0, 130, 0, "1"), job(0, 130, 40, "1"),
                                        job(0, 100, 0, "1"), job(0, 90, 30, "1"), job(0, 130, 40, "2"),
                                        job(5, 130, 0, "1"), job(0, 130, 40, "1")};
  const std::vector<int64_t> reused{0, 129, 130, 99, 90, 0, 0, 169};
  for (const int64_t tokens : {0, 320}) {  // room for all, and for little more than one
    Engine engine({.parallel = tokens == 0 ? 12 : 3, .cache_tokens = tokens});
    engine.scheduler->start();
    for (size_t i = 0; i < jobs.size(); ++i) {
      Engine fresh({.parallel = 1});
      fresh.scheduler->start();
      GenerationJob own = jobs[i];
      own.channel = std::make_shared<Channel>();
      ASSERT_TRUE(fresh.submit(own));
      const Written wanted = read_all(*own.channel);
      const int64_t before = engine.counts().reused_tokens;
      ASSERT_TRUE(engine.submit(jobs[i]));
      EXPECT_TRUE(read_all(*jobs[i].channel) == wanted) << i;
      ASSERT_TRUE(eventually([&] { return engine.idle(); }));
      if (tokens == 0) {
        EXPECT_EQ(engine.counts().reused_tokens - before, reused[i]) << i;
      }
    }
    if (tokens > 0) {
      EXPECT_GT(engine.counts().evicted, 0);
    }
  }
}

GenerationJob plain_job(int count, int other, int tokens) {
  GenerationJob job = job_of(1);
  job.prompt.clear();
  for (int i = 0; i < count; ++i) job.prompt.push_back((i * 29 + (i < other ? 0 : 1)) % 103);
  job.max_tokens = tokens;
  return job;
}

/// Windows that have gone by and states that cannot be rewound are found where they were kept, or computed again.
TEST(Scheduler, WhatIsKeptOfWindowsAndStatesChangesNothing) {
  for (const char* name : {"gemma3", "smollm3_window", "mamba2", "lfm2", "deepseek_v3"}) {
    const ModelOptions model{
        .folder = fmt::format("models/{}", name), .parallel = 3, .tokenizer = "models/qwen2/model.gguf"};
    Engine engine(model);
    engine.scheduler->start();
    // A text; longer; with another end; the first again; and the second as a turn that goes on.
    for (const auto& [count, other] : {std::pair{140, 999}, {180, 999}, {170, 100}, {140, 999}, {201, 999}}) {
      Engine fresh(model);
      fresh.scheduler->start();
      const GenerationJob own = plain_job(count, other, 12);
      ASSERT_TRUE(fresh.submit(own));
      const Written wanted = read_all(*own.channel);
      ASSERT_FALSE(wanted.error) << wanted.error->text();
      const GenerationJob job = plain_job(count, other, 12);
      ASSERT_TRUE(engine.submit(job));
      EXPECT_TRUE(read_all(*job.channel) == wanted) << name << " " << count;
      ASSERT_TRUE(eventually([&] { return engine.idle(); }));
    }
    EXPECT_GE(engine.counts().reused_texts, 3) << name;
    EXPECT_GE(engine.counts().reused_tokens, 3 * 64) << name;
  }
}

/// A batcher that a test steps by hand.
struct ByHand {
  Engine engine;
  Batcher batcher;
  int jobs = 0;

  explicit ByHand(const ModelOptions& options) : engine(options), batcher(*engine.models[0]->runner, {}) {}
  std::shared_ptr<Channel> add(GenerationJob job, const std::string& client, int priority = 0) {
    job.client = client;
    job.priority = priority;
    job.tenant = std::to_string(jobs++);  // nobody shares anything
    batcher.add(Sequence::create(job, engine.models[0]->tokenizer, 104).value());
    return job.channel;
  }
  /// The jobs by the order in which they end.
  std::vector<size_t> ends(const std::vector<std::shared_ptr<Channel>>& channels) {
    std::vector<size_t> order;
    std::vector<bool> ended(channels.size());
    while (order.size() < channels.size() && batcher.step()) {
      batcher.tell_ends();
      for (size_t i = 0; i < channels.size(); ++i) {
        while (const auto event = ended[i] ? std::nullopt : channels[i]->pop(std::chrono::milliseconds(0))) {
          ended[i] = event->last;
          if (event->last) order.push_back(i);
        }
      }
    }
    return order;
  }
};

TEST(Scheduler, ClientsTakeTurnsHoweverMuchOneOfThemAsks) {
  ByHand hand({.parallel = 1});
  std::vector<std::shared_ptr<Channel>> channels;
  for (int i = 0; i < 4; ++i) channels.push_back(hand.add(plain_job(20, 999, 5), "greedy"));
  for (int i = 0; i < 2; ++i) channels.push_back(hand.add(plain_job(20, 999, 5), "modest"));
  const auto order = hand.ends(channels);
  EXPECT_EQ(order, (std::vector<size_t>{0, 4, 1, 5, 2, 3}));
}

TEST(Scheduler, LowerNumbersOfPriorityComeFirst) {
  ByHand hand({.parallel = 1});
  std::vector<std::shared_ptr<Channel>> channels{
      hand.add(plain_job(20, 999, 5), "a", 1), hand.add(plain_job(20, 999, 5), "a", 0),
      hand.add(plain_job(20, 999, 5), "a", -3), hand.add(plain_job(20, 999, 5), "b", 0)};
  EXPECT_EQ(hand.ends(channels), (std::vector<size_t>{2, 3, 1, 0}));
}

TEST(Scheduler, ALongPromptIsNoReasonForAnotherClientToWait) {
  ByHand hand({.parallel = 3, .max_rows = 16});
  std::vector<std::shared_ptr<Channel>> channels{hand.add(plain_job(240, 999, 1), "long"),
                                                 hand.add(plain_job(40, 10, 1), "long"),
                                                 hand.add(plain_job(40, 20, 1), "short")};
  EXPECT_EQ(hand.ends(channels), (std::vector<size_t>{2, 0, 1}));
}

TEST(Scheduler, TheLowestPriorityIsSetBackHoweverOld) {
  // Four blocks each when they end, and five for both.
  GenerationJob job = plain_job(60, 999, 150);
  const Written wanted = alone({job}).front();
  ByHand hand({.parallel = 2, .cache_tokens = 256});
  const auto old = hand.add(job, "a", 5);
  job.channel = std::make_shared<Channel>();
  while (hand.batcher.counts().generated_tokens < 5) ASSERT_TRUE(hand.batcher.step());
  const auto young = hand.add(job, "b", 0);
  while (hand.batcher.counts().set_back == 0) ASSERT_TRUE(hand.batcher.step());
  ASSERT_EQ(hand.batcher.counts().waiting, 1);
  while (hand.batcher.counts().running > 1 || hand.batcher.counts().waiting > 0) ASSERT_TRUE(hand.batcher.step());
  hand.batcher.tell_ends();
  EXPECT_TRUE(read_all(*young) == wanted);  // it has ended, and the old one goes on
  while (hand.batcher.step()) {
  }
  EXPECT_TRUE(read_all(*old) == wanted);
}

TEST(FairShares, NobodySavesUpByBeingAway) {
  FairShares shares;
  shares.join("a");
  shares.give("a", 100);
  shares.join("b");
  EXPECT_EQ(shares.given("b"), 100);
  shares.give("b", 50);
  shares.leave("a");
  shares.give("b", 500);
  shares.join("a");
  EXPECT_EQ(shares.given("a"), 650);
  shares.leave("b");
  shares.leave("a");
  EXPECT_EQ(shares.given("a"), 0);
  EXPECT_LT((Turn{.priority = 0, .given = 9, .arrival = 9}), (Turn{.priority = 1, .given = 0, .arrival = 0}));
  EXPECT_LT((Turn{.priority = 0, .given = 1, .arrival = 9}), (Turn{.priority = 0, .given = 2, .arrival = 0}));
}

TEST(Scheduler, CancellingSomeHarmsNoOther) {
  const std::vector<Written> wanted = alone(many_jobs());
  Engine engine({.parallel = 6, .cache_tokens = 384});
  engine.scheduler->start();
  std::mt19937 random(5);
  std::vector<GenerationJob> jobs;
  std::vector<bool> cancelled;
  for (int i = 0; i < kJobs; ++i) {
    jobs.push_back(job_of(i));
    cancelled.push_back(random() % 3 == 0);
    ASSERT_TRUE(engine.submit(jobs.back()));
    // In every phase: while it waits, while its prompt is read, while it writes.
    if (cancelled.back() && random() % 2 == 0) jobs.back().channel->cancel();
  }
  for (int i = 0; i < kJobs; ++i) {
    const auto at = static_cast<size_t>(i);
    if (cancelled[at]) {
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 3000));
      jobs[at].channel->cancel();
    } else {
      EXPECT_TRUE(read_all(*jobs[at].channel) == wanted[at]) << i;
    }
  }
  EXPECT_TRUE(eventually([&] { return engine.idle(); }));
}

TEST(Scheduler, ACancelledJobLeavesWithinAStep) {
  Engine engine({.parallel = 2});
  Batcher batcher(*engine.models[0]->runner, {});
  const auto add = [&](int number, int64_t tokens) {
    GenerationJob job = job_of(number);
    job.max_tokens = tokens;
    batcher.add(Sequence::create(job, engine.models[0]->tokenizer, 104).value());
    return job.channel;
  };
  const auto first = add(1, 100);
  const auto second = add(2, 100);
  const auto third = add(3, 100);
  ASSERT_TRUE(batcher.step());
  ASSERT_EQ(batcher.counts().running, 2);
  ASSERT_EQ(batcher.counts().waiting, 1);
  const int64_t used = batcher.counts().cache_blocks_used;
  first->cancel();
  third->cancel();
  ASSERT_TRUE(batcher.step());
  EXPECT_EQ(batcher.counts().running, 1);
  EXPECT_EQ(batcher.counts().waiting, 0);
  EXPECT_EQ(batcher.counts().cancelled, 2);
  EXPECT_LT(batcher.counts().cache_blocks_used, used);
  second->cancel();
  EXPECT_FALSE(batcher.step());
  EXPECT_EQ(batcher.counts().cache_blocks_used, 0);
}

TEST(Scheduler, AFullQueueRefuses) {
  Engine engine({.parallel = 1}, {.queue = 3});
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(engine.submit(job_of(i)));
  const core::Status refused = engine.submit(job_of(3));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, core::ErrorCode::kLimit);
  EXPECT_EQ(Refusal(refused.error()).status, 429);
  engine.scheduler->start();
  EXPECT_TRUE(eventually([&] { return engine.submit(job_of(3)).has_value(); }));
}

TEST(Scheduler, StoppingTellsThoseWhoWait) {
  Engine engine({.parallel = 1});
  engine.scheduler->start();
  std::vector<GenerationJob> jobs;
  for (int i = 0; i < 8; ++i) {
    jobs.push_back(job_of(2));
    jobs.back().max_tokens = 200;
    ASSERT_TRUE(engine.submit(jobs.back()));
  }
  engine.scheduler->stop();
  int ended = 0;
  for (const GenerationJob& job : jobs) ended += read_all(*job.channel).error ? 1 : 0;
  EXPECT_GT(ended, 0);
  EXPECT_EQ(Refusal(engine.submit(job_of(1)).error()).status, 503);
}

TEST(Scheduler, ALongPromptIsReadBetweenOthersTokens) {
  Engine engine({.parallel = 4, .max_rows = 64});
  Batcher batcher(*engine.models[0]->runner, {});
  const auto add = [&](GenerationJob job) {
    batcher.add(Sequence::create(job, engine.models[0]->tokenizer, 104).value());
    return job.channel;
  };
  GenerationJob writer = job_of(1);
  writer.max_tokens = 150;
  const auto channel = add(writer);
  while (batcher.counts().generated_tokens == 0) ASSERT_TRUE(batcher.step());
  GenerationJob reader = job_of(2);
  reader.prompt.assign(200, 5);
  reader.max_tokens = 1;
  const auto other = add(reader);
  // Every step writes a token of the one while the other is read.
  const int64_t before = batcher.counts().generated_tokens;
  int64_t steps = 0;
  while (!other->pop(std::chrono::milliseconds(0))) {
    ASSERT_TRUE(batcher.step());
    batcher.tell_ends();
    ++steps;
  }
  EXPECT_GE(batcher.counts().generated_tokens - before, steps);
  EXPECT_GT(steps, 3);
}

TEST(Pace, LeavesTimeToOtherModels) {
  Pace pace({.max_gap_seconds = 0.1}, 512);
  for (int i = 0; i < 40; ++i) {
    pace.note(2, 0, 0.02);
    pace.note(2, 32, 0.02 + 32 * 0.001);
  }
  EXPECT_NEAR(static_cast<double>(pace.prompt_rows(2, 0.03)), 30, 1);
  EXPECT_NEAR(static_cast<double>(pace.prompt_rows(0, 0.03)), 30, 1);
  EXPECT_EQ(pace.prompt_rows(0, 0), 8);
  EXPECT_EQ(pace.prompt_rows(0), 512);
}

TEST(Pace, ReadsAsMuchAsTheGapAllows) {
  Pace pace({.max_gap_seconds = 0.1}, 512);
  EXPECT_EQ(pace.prompt_rows(0), 512);
  EXPECT_EQ(pace.prompt_rows(2), 0);  // first it must be seen what a step without them takes
  for (int i = 0; i < 40; ++i) {
    pace.note(2, 0, 0.02);
    pace.note(2, 32, 0.02 + 32 * 0.001);
  }
  EXPECT_NEAR(static_cast<double>(pace.prompt_rows(2)), 80, 2);
  // Rows that become dearer become fewer, but never none.
  for (int i = 0; i < 40; ++i) pace.note(2, 32, 0.02 + 32 * 1.0);
  EXPECT_EQ(pace.prompt_rows(2), 0);
  pace.note(2, 0, 0.02);
  EXPECT_EQ(pace.prompt_rows(2), 8);
  Pace automatic({}, 512);
  for (int i = 0; i < 40; ++i) {
    automatic.note(1, 0, 0.02);
    automatic.note(1, 32, 0.02 + 32 * 0.001);
  }
  EXPECT_NEAR(static_cast<double>(automatic.prompt_rows(1)), 40, 2);
}

}  // namespace
}  // namespace lamina::serve
