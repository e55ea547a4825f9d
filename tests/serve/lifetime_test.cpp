// Models that leave memory and come back, sessions that are saved, routes of single requests, and who shares what.
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "serve/served.h"
#include "serve/session_files.h"

namespace lamina::serve {
namespace {

Json complete(const std::string& prompt, int64_t tokens = 12) {
  return {{"prompt", prompt}, {"max_tokens", tokens}, {"temperature", 0}, {"ignore_eos", true}};
}

std::string text_of(const Json& answer) {
  return answer["choices"][0]["text"];
}

/// A folder that is gone after the test.
class Folder {
 public:
  Folder() : path_(std::filesystem::temp_directory_path() / fmt::format("lamina-sessions-{}", getpid())) {
    std::filesystem::create_directories(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

const std::string kLong(150, 'c');  // more than two blocks of tokens

TEST(ModelKeeper, IdleModelsLeaveAndComeBackOnRequest) {
  ServiceOptions options;
  options.scheduler.unload_idle = std::chrono::milliseconds(100);
  const ModelOptions model;
  std::vector<std::unique_ptr<core::ThreadPool>> pools;  // those that compute are not to be asked meanwhile
  std::atomic<int> loads = 0;
  std::atomic<bool> broken = false;
  TestServer server({model}, options, [&](ServedModel& served) {
    served.load = [&](ServedModel& own) -> core::Status {
      if (broken) return core::fail(core::ErrorCode::kNotFound, "model.gguf", "it is gone");
      pools.push_back(std::make_unique<core::ThreadPool>(1));
      auto fresh = open_model(*pools.back(), model);
      own.model = std::move(fresh->model);
      own.runner = std::move(fresh->runner);
      ++loads;
      return {};
    };
  });
  const auto loaded = [&] { return server.ask_get("/v1/models")["data"][0]["loaded"].get<bool>(); };
  const std::string wanted = text_of(server.ask("/v1/completions", complete("the cat")));
  for (int round = 1; round <= 2; ++round) {
    EXPECT_TRUE(eventually([&] { return !loaded(); }));
    EXPECT_EQ(server.ask_get("/v1/models")["data"][0]["max_model_len"], model.context);
    EXPECT_EQ(text_of(server.ask("/v1/completions", complete("the cat"))), wanted);
    EXPECT_EQ(loads, round);
  }
  EXPECT_TRUE(eventually([&] { return !loaded(); }));
  // Several at once wait for one load.
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i)
    threads.emplace_back([&] { EXPECT_EQ(text_of(server.ask("/v1/completions", complete("the cat"))), wanted); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(loads, 3);
  EXPECT_TRUE(eventually([&] { return !loaded(); }));
  broken = true;
  const Json error = server.refused(503, "/v1/completions", complete("the cat"));
  EXPECT_NE(error["message"].get<std::string>().find("it is gone"), std::string::npos);
  broken = false;
  EXPECT_EQ(text_of(server.ask("/v1/completions", complete("the cat"))), wanted);
}

TEST(ModelKeeper, AModelThatIsInUseStays) {
  core::ThreadPool pool(1);
  std::vector<std::unique_ptr<ServedModel>> models;
  models.push_back(open_model(pool, {}));
  models.front()->load = [](ServedModel& /*own*/) { return core::Status(); };
  ModelKeeper keeper(models);
  const auto now = std::chrono::milliseconds(0);
  const auto agree = [] { return true; };
  auto pin = keeper.pin(0).value();
  EXPECT_FALSE(keeper.unload(0, now, agree));
  pin.reset();
  EXPECT_FALSE(keeper.unload(0, std::chrono::hours(1), agree));
  EXPECT_FALSE(keeper.unload(0, now, [] { return false; }));
  EXPECT_TRUE(keeper.loaded(0));
  EXPECT_TRUE(keeper.unload(0, now, agree));
  EXPECT_FALSE(keeper.loaded(0));
  EXPECT_FALSE(keeper.unload(0, now, agree));
}

TEST(Sessions, SavedAndRestoredTextsChangeNothing) {
  const Folder folder;
  ServiceOptions options;
  options.sessions = folder.path();
  for (const char* name : {"qwen2", "gemma3", "mamba2"}) {
    const ModelOptions model{.folder = fmt::format("models/{}/model.gguf", name),
                             .tokenizer = "models/qwen2/model.gguf"};
    const std::string prompt = kLong + "at sat";
    std::string wanted;
    Json saved;
    {
      TestServer server(model, options);
      wanted = text_of(server.ask("/v1/completions", complete(prompt)));
      saved = server.ask("/admin/sessions", {{"action", "save"}, {"name", name}, {"prompt", kLong}});
      EXPECT_GE(saved["tokens"], 128) << name;
      EXPECT_LE(saved["tokens"], saved["of"]);
    }
    TestServer server(model, options);
    EXPECT_EQ(server.ask("/admin/sessions", {{"action", "restore"}, {"name", name}})["tokens"], saved["tokens"]);
    EXPECT_EQ(text_of(server.ask("/v1/completions", complete(prompt))), wanted) << name;
    EXPECT_EQ(server.counts().reused_tokens, saved["tokens"]) << name;
  }
}

TEST(Sessions, WhatCannotBeRightIsRefused) {
  const Folder folder;
  ServiceOptions options;
  options.sessions = folder.path();
  options.rules.keys = {"one", "two"};
  TestServer server(
      {ModelOptions{},
       ModelOptions{.name = "other", .folder = "models/gqa/model.gguf", .tokenizer = "models/qwen2/model.gguf"}},
      options);
  const httplib::Headers one{{"x-api-key", "one"}};
  const httplib::Headers two{{"x-api-key", "two"}};
  const auto ask = [&](Json body, const httplib::Headers& key) {
    if (!body.contains("model")) body["model"] = "tiny";
    const HttpAnswer answer = server.post("/admin/sessions", body, key);
    return std::pair(answer.status, answer.text);
  };
  Json body = complete(kLong);
  body["model"] = "tiny";
  ASSERT_EQ(server.post("/v1/completions", body, one).status, 200);
  const Json save{{"action", "save"}, {"name", "a"}, {"prompt", kLong}};
  EXPECT_EQ(ask(save, two).first, 404);  // it is not theirs
  ASSERT_EQ(ask(save, one).first, 200);
  const Json restore{{"action", "restore"}, {"name", "a"}};
  EXPECT_EQ(ask(restore, one).first, 200);
  EXPECT_EQ(ask(restore, two).first, 400);
  EXPECT_EQ(ask({{"action", "restore"}, {"name", "a"}, {"model", "other"}}, one).first, 400);
  EXPECT_EQ(ask({{"action", "restore"}, {"name", "b"}}, one).first, 404);
  for (const char* name : {"../a", "a.b", "", "a/b"})
    EXPECT_EQ(ask({{"action", "restore"}, {"name", name}}, one).first, 400) << name;
  EXPECT_EQ(ask({{"action", "save"}, {"name", "c"}}, one).first, 400);
  // A flipped bit anywhere, and a file that was cut off.
  const auto path = folder.path() / "a.session";
  std::ifstream in(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(in), {}};
  for (const size_t at : {size_t{3}, bytes.size() / 3, bytes.size() / 2, bytes.size() - 5}) {
    std::string changed = bytes;
    changed[at] = static_cast<char>(changed[at] ^ 16);
    std::ofstream(path, std::ios::binary) << changed;
    EXPECT_GE(ask(restore, one).first, 400) << at;
  }
  std::ofstream(path, std::ios::binary) << bytes.substr(0, bytes.size() - 100);
  EXPECT_GE(ask(restore, one).first, 400);
  std::ofstream(path, std::ios::binary) << bytes;
  EXPECT_EQ(ask(restore, one).first, 200);
  EXPECT_EQ(ask({{"action", "remove"}, {"name", "a"}}, one).first, 200);
  EXPECT_EQ(ask(restore, one).first, 404);
}

TEST(Sharing, SaltsAndKeysKeepTextsApart) {
  ServiceOptions options;
  options.rules.keys = {"one", "two"};
  TestServer server(ModelOptions{}, options);
  const auto reused = [&](const char* key, const char* salt) {
    Json body = complete(kLong, 2);
    if (*salt != '\0') body["cache_salt"] = salt;
    const int64_t before = server.counts().reused_texts;
    EXPECT_EQ(server.post("/v1/completions", body, {{"x-api-key", key}}).status, 200);
    EXPECT_TRUE(eventually([&] { return server.counts().running == 0; }));
    return server.counts().reused_texts > before;
  };
  EXPECT_FALSE(reused("one", ""));
  EXPECT_TRUE(reused("one", ""));
  EXPECT_FALSE(reused("two", ""));
  EXPECT_FALSE(reused("one", "a"));
  EXPECT_TRUE(reused("one", "a"));
  EXPECT_FALSE(reused("two", "a"));
  EXPECT_TRUE(reused("two", ""));
}

TEST(RequestRecipe, RoutesOfSingleRequests) {
  TestServer server(ModelOptions{.parallel = 6});
  const std::vector<std::string> recipes{"", "route:0", "route:1", "L1.mlp:drop"};
  std::vector<std::string> alone;
  const auto with = [&](const std::string& recipe) {
    Json body = complete(kLong);
    if (!recipe.empty()) body["recipe"] = recipe;
    return body;
  };
  for (const std::string& recipe : recipes) {
    // As a server whose own route it is answers.
    ModelOptions model;
    model.recipe = recipe;
    TestServer own(model);
    alone.push_back(text_of(own.ask("/v1/completions", complete(kLong))));
  }
  EXPECT_NE(alone[0], alone[1]);
  for (int round = 0; round < 2; ++round) {  // the second one goes on from what is kept, of the same route alone
    std::vector<std::thread> threads;
    for (size_t i = 0; i < recipes.size(); ++i) {
      threads.emplace_back(
          [&, i] { EXPECT_EQ(text_of(server.ask("/v1/completions", with(recipes[i]))), alone[i]) << recipes[i]; });
    }
    for (std::thread& thread : threads) thread.join();
  }
  EXPECT_EQ(server.counts().reused_texts, 4);
  for (const char* recipe : {"kv:q8_0", "L*:q4_0", "route:", "route:0-99", "route:0,0,1", "head:f16"}) {
    const Json error = server.refused(400, "/v1/completions", with(recipe));
    EXPECT_EQ(error["param"], "recipe") << recipe;
  }
}

}  // namespace
}  // namespace lamina::serve
