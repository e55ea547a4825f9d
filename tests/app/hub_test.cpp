#include "lamina/hub.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "app/hub_server.h"
#include "app/temporary_folder.h"
#include "lamina/digest.h"

namespace lamina::app {
namespace {

namespace fs = std::filesystem;
using core::ErrorCode;
using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string content_of(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// A hub with one model, o/n, whose large files a second host delivers.
class Hub : public ::testing::Test {
 protected:
  void SetUp() override {
    for (size_t i = 0; i < 300'000; ++i) weights_ += static_cast<char>('a' + i * i % 23);
    settings_.http.token = "secret";
    settings_.http.attempts = 3;
    settings_.http.pause = std::chrono::milliseconds(1);
    settings_.http.timeout = std::chrono::seconds(10);
    settings_.endpoint = hub_.origin();
    settings_.http.token_origin = hub_.origin();
    hub_.routes().Get("/api/models/o/n", [this](const httplib::Request&, httplib::Response& response) {
      response.set_content(json({{"siblings", siblings_}, {"cardData", {{"license", "mit"}}}}).dump(), "text/plain");
    });
  }
  void start() {
    hub_.start();
    cdn_.start();
  }
  std::string sha256(const std::string& content) {
    std::ofstream(folder_.path() / "hashed", std::ios::binary) << content;
    return *file_digest(folder_.path() / "hashed", DigestKind::kSha256);
  }
  std::string blob_id(const std::string& content) {
    std::ofstream(folder_.path() / "hashed", std::ios::binary) << content;
    return *file_digest(folder_.path() / "hashed", DigestKind::kGitBlob);
  }
  void list_large(const std::string& name, const std::string& content) {
    siblings_.push_back({{"rfilename", name}, {"size", content.size()}, {"lfs", {{"sha256", sha256(content)}}}});
  }
  void list_small(const std::string& name, const std::string& content) {
    siblings_.push_back({{"rfilename", name}, {"size", content.size()}, {"blobId", blob_id(content)}});
    hub_.routes().Get("/o/n/resolve/main/" + name, [content](const httplib::Request&, httplib::Response& response) {
      response.set_content(content, "text/plain");
    });
  }
  void redirect(const std::string& name, const std::string& location) {
    hub_.routes().Get("/o/n/resolve/main/" + name, [location](const httplib::Request&, httplib::Response& response) {
      response.set_redirect(location);
    });
  }
  /// /file on the second host; breaks off after `break_after` bytes of the whole, as often as `breaks` says.
  void deliver(size_t break_after, int breaks) {
    breaks_ = breaks;
    cdn_.routes().Get("/file", [this, break_after](const httplib::Request&, httplib::Response& response) {
      response.set_content_provider(weights_.size(), "application/octet-stream",
                                    [this, break_after](size_t offset, size_t length, httplib::DataSink& sink) {
                                      constexpr size_t kStep = 10'000;
                                      if (offset >= break_after && breaks_.fetch_sub(1) > 0) return false;
                                      sink.write(weights_.data() + offset, std::min(length, kStep));
                                      return true;
                                    });
    });
  }
  core::Result<Manifest> pull(const std::string& name = "hf:o/n") {
    return pull_from_hub(*parse_hub_reference(name), settings_, root());
  }
  fs::path root() const { return folder_.path() / "home"; }
  fs::path stored(const std::string& name) const { return root() / "models/o/n" / name; }

  TemporaryFolder folder_;
  std::string weights_;
  std::atomic<int> breaks_{0};
  json siblings_ = json::array();
  HubSettings settings_;
  LocalServer hub_;
  LocalServer cdn_;
};

TEST_F(Hub, FollowsARedirectToAnotherHostWithoutTheToken) {
  list_large("m.gguf", weights_);
  redirect("m.gguf", cdn_.origin() + "/file?signature=a%2Bb");
  deliver(weights_.size(), 0);
  start();
  const auto manifest = pull();
  ASSERT_TRUE(manifest) << manifest.error().text();
  EXPECT_EQ(manifest->licence, "mit");
  EXPECT_EQ(content_of(stored("m.gguf")), weights_);
  for (const SeenRequest& request : hub_.seen()) EXPECT_EQ(request.authorization, "Bearer secret");
  ASSERT_EQ(cdn_.seen().size(), 1u);
  EXPECT_EQ(cdn_.seen()[0].authorization, "");
  EXPECT_EQ(*resolve_model("o/n", root()), stored("m.gguf"));

  ASSERT_TRUE(pull());
  EXPECT_EQ(cdn_.seen().size(), 1u) << "what is there is not fetched again";
}

TEST_F(Hub, GoesOnWhereTheConnectionBroke) {
  list_large("m.gguf", weights_);
  redirect("m.gguf", cdn_.origin() + "/file");
  deliver(100'000, 1);
  start();
  const auto manifest = pull();
  ASSERT_TRUE(manifest) << manifest.error().text();
  EXPECT_EQ(content_of(stored("m.gguf")), weights_);
  ASSERT_EQ(cdn_.seen().size(), 2u);
  EXPECT_EQ(cdn_.seen()[0].range, "");
  EXPECT_EQ(cdn_.seen()[1].range, "bytes=100000-");
}

TEST_F(Hub, GoesOnInANewProcess) {
  list_large("m.gguf", weights_);
  redirect("m.gguf", cdn_.origin() + "/file");
  deliver(100'000, 4);
  start();
  ASSERT_FALSE(pull()) << "more breaks than attempts";
  EXPECT_FALSE(fs::exists(stored("m.gguf")));
  EXPECT_THAT(stored_models(root()), IsEmpty());
  const size_t before = cdn_.seen().size();
  const auto manifest = pull();
  ASSERT_TRUE(manifest) << manifest.error().text();
  EXPECT_EQ(cdn_.seen()[before].range, "bytes=100000-");
  EXPECT_EQ(content_of(stored("m.gguf")), weights_);
}

TEST_F(Hub, StartsAgainWhenTheContentChangedBetweenPulls) {
  list_large("m.gguf", weights_);
  redirect("m.gguf", cdn_.origin() + "/file");
  deliver(100'000, 3);
  start();
  ASSERT_FALSE(pull());
  weights_ = std::string(200'000, 'z');
  siblings_.clear();
  list_large("m.gguf", weights_);
  const auto manifest = pull();
  ASSERT_TRUE(manifest) << manifest.error().text();
  EXPECT_EQ(content_of(stored("m.gguf")), weights_);
}

TEST_F(Hub, StartsAgainWhereTheServerKnowsNoRanges) {
  list_large("m.gguf", weights_);
  int request_count = 0;
  hub_.routes().Get("/o/n/resolve/main/m.gguf", [&](const httplib::Request& request, httplib::Response& response) {
    const bool first = request_count++ == 0;
    const_cast<httplib::Request&>(request).ranges.clear();
    response.set_content_provider(weights_.size(), "application/octet-stream",
                                  [this, first](size_t offset, size_t length, httplib::DataSink& sink) {
                                    if (first && offset >= 50'000) return false;
                                    sink.write(weights_.data() + offset, std::min<size_t>(length, 10'000));
                                    return true;
                                  });
  });
  start();
  const auto manifest = pull();
  ASSERT_TRUE(manifest) << manifest.error().text();
  EXPECT_EQ(request_count, 2);
  EXPECT_EQ(content_of(stored("m.gguf")), weights_);
}

TEST_F(Hub, RefusesWrongContent) {
  std::string other = weights_;
  other[7] ^= 1;
  list_large("m.gguf", other);
  redirect("m.gguf", cdn_.origin() + "/file");
  deliver(weights_.size(), 0);
  start();
  const auto manifest = pull();
  ASSERT_FALSE(manifest);
  EXPECT_EQ(manifest.error().code, ErrorCode::kCorrupt);
  EXPECT_THAT(manifest.error().message, HasSubstr(sha256(other)));
  EXPECT_THAT(stored_models(root()), IsEmpty());
}

TEST_F(Hub, RefusesMoreThanWasAnnounced) {
  list_large("m.gguf", weights_.substr(0, 1000));
  redirect("m.gguf", cdn_.origin() + "/file");
  deliver(weights_.size(), 0);
  start();
  const auto manifest = pull();
  ASSERT_FALSE(manifest);
  EXPECT_EQ(manifest.error().code, ErrorCode::kCorrupt);
  EXPECT_THAT(stored_models(root()), IsEmpty());
}

TEST_F(Hub, TriesAgainAfterAServerError) {
  list_small("m.gguf", "GGUF");
  int answers = 0;
  hub_.routes().Get("/api/models/o/late", [&](const httplib::Request&, httplib::Response& response) {
    response.status = ++answers < 3 ? 503 : 404;
  });
  start();
  const auto manifest = pull("hf:o/late");
  ASSERT_FALSE(manifest);
  EXPECT_EQ(answers, 3);
  EXPECT_EQ(manifest.error().code, ErrorCode::kNotFound);
}

TEST_F(Hub, SaysWhyAModelCannotBeHad) {
  hub_.routes().Get("/api/models/o/closed",
                    [](const httplib::Request&, httplib::Response& response) { response.status = 401; });
  hub_.routes().Get("/api/models/o/odd", [](const httplib::Request&, httplib::Response& response) {
    response.set_content("<html>", "text/html");
  });
  start();
  EXPECT_EQ(pull("hf:o/absent").error().code, ErrorCode::kNotFound);
  EXPECT_THAT(pull("hf:o/closed").error().message, HasSubstr("does not open"));
  settings_.http.token.clear();
  EXPECT_THAT(pull("hf:o/closed").error().message, HasSubstr("HF_TOKEN"));
  EXPECT_EQ(pull("hf:o/odd").error().code, ErrorCode::kCorrupt);
}

TEST_F(Hub, EndsRedirectLoops) {
  list_large("m.gguf", weights_);
  redirect("m.gguf", "m.gguf?again");
  start();
  const auto manifest = pull();
  ASSERT_FALSE(manifest);
  EXPECT_THAT(manifest.error().message, HasSubstr("redirects"));
}

TEST_F(Hub, ListsSeveralGgufFilesAndTakesTheNamedOne) {
  list_small("q4.gguf", "four");
  list_small("q8.gguf", "eight");
  list_small("sub/deep q2.gguf", "two");
  hub_.routes().Get("/o/n/resolve/main/sub/deep q2.gguf", [](const httplib::Request&, httplib::Response& response) {
    response.set_content("two", "text/plain");
  });
  start();
  const auto several = pull();
  ASSERT_FALSE(several);
  EXPECT_EQ(several.error().code, ErrorCode::kInvalid);
  EXPECT_THAT(several.error().message, HasSubstr("q4.gguf (4 bytes), q8.gguf (5 bytes)"));
  ASSERT_TRUE(pull("hf:o/n:q8.gguf"));
  ASSERT_TRUE(pull("hf:o/n:sub/deep q2.gguf"));
  EXPECT_EQ(content_of(stored("q8.gguf")), "eight");
  EXPECT_EQ(content_of(stored("sub/deep q2.gguf")), "two");
  EXPECT_FALSE(fs::exists(stored("q4.gguf")));
  EXPECT_EQ(pull("hf:o/n:q5.gguf").error().code, ErrorCode::kNotFound);
}

TEST_F(Hub, FetchesTheSafetensorsSetWithoutPickles) {
  for (const char* name : {"config.json", "tokenizer.json", "README.md", "pytorch_model.bin", "model.pt",
                           "1_Pooling/config.json", "onnx/model.safetensors", "onnx/config.json"}) {
    list_small(name, std::string("content of ") + name);
  }
  list_large("model.safetensors", weights_);
  redirect("model.safetensors", cdn_.origin() + "/file");
  deliver(weights_.size(), 0);
  start();
  const auto manifest = pull();
  ASSERT_TRUE(manifest) << manifest.error().text();
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(root() / "models/o/n")) {
    if (entry.is_regular_file()) names.push_back(fs::relative(entry.path(), root() / "models/o/n"));
  }
  std::sort(names.begin(), names.end());
  EXPECT_THAT(names, ElementsAre(".lamina.json", "1_Pooling/config.json", "config.json", "model.safetensors",
                                 "tokenizer.json"));
  EXPECT_EQ(*resolve_model("o/n", root()), root() / "models/o/n");
}

TEST_F(Hub, AFolderIsThereOnlyWhenItIsWhole) {
  list_small("config.json", "{}");
  list_large("model.safetensors", weights_);
  start();
  ASSERT_FALSE(pull()) << "the weights are 404";
  EXPECT_FALSE(fs::exists(root() / "models/o/n"));
}

TEST_F(Hub, UnsafeNamesAreNeverWritten) {
  list_small("../../evil.gguf", "evil");
  list_small("a/../../../evil.gguf", "evil");
  start();
  EXPECT_EQ(pull().error().code, ErrorCode::kUnsupported);
  EXPECT_FALSE(parse_hub_reference("hf:o/n:../../evil.gguf"));
}

HubModel model_of(std::initializer_list<const char*> names) {
  HubModel model;
  for (const char* name : names) model.files.push_back({name, 1, "", ""});
  return model;
}

std::vector<std::string> chosen(const HubModel& model, const std::string& file = "") {
  const auto files = choose_files(model, {"o/n", file});
  std::vector<std::string> names;
  if (!files) return {std::string("error: ") + files.error().message};
  for (const HubFile& one : *files) names.push_back(one.name);
  return names;
}

TEST(ChooseFiles, TakesShardsAndLeavesASecondCopy) {
  EXPECT_THAT(chosen(model_of({"config.json", "consolidated.safetensors", "model-00001-of-00002.safetensors",
                               "model-00002-of-00002.safetensors", "model.safetensors.index.json"})),
              ElementsAre("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "config.json",
                          "model.safetensors.index.json"));
  EXPECT_THAT(chosen(model_of({"config.json", "model.safetensors", "model.fp16.safetensors", "m.gguf"})),
              ElementsAre("m.gguf"));
  EXPECT_THAT(chosen(model_of({"config.json", "model.safetensors", "model.fp16.safetensors", "m.gguf"}), "safetensors"),
              ElementsAre("model.safetensors", "config.json"));
}

TEST(ChooseFiles, RefusesPickles) {
  EXPECT_THAT(chosen(model_of({"config.json", "pytorch_model.bin"})), ElementsAre(HasSubstr("pickled weights")));
}

TEST(HubReference, IsOwnerAndName) {
  EXPECT_EQ(parse_hub_reference("hf:Owner/Name-1.5_b:a/b.gguf").value().model, "Owner/Name-1.5_b");
  EXPECT_EQ(parse_hub_reference("hf:Owner/Name-1.5_b:a/b.gguf").value().file, "a/b.gguf");
  for (const char* bad :
       {"hf:", "hf:name", "hf:a/b/c", "hf:../b", "hf:a/..", "hf:a/b:", "hf:a/b?x", "hf:a b/c", "hf:/b"}) {
    EXPECT_FALSE(parse_hub_reference(bad)) << bad;
  }
}

TEST(Urls, AreSplitAndChecked) {
  EXPECT_EQ(parse_url("HTTPS://Hub.example:8443/a?b#c").value().origin, "https://hub.example:8443");
  EXPECT_EQ(parse_url("https://hub.example/a?b#c").value().target, "/a?b");
  EXPECT_EQ(parse_url("http://h?q").value().target, "/?q");
  for (const char* bad :
       {"", "hub.example", "ftp://x/", "https://", "https:///x", "https://me:pw@x/", "https://x/a b"}) {
    EXPECT_FALSE(parse_url(bad)) << bad;
  }
}

TEST(Urls, RedirectsResolve) {
  const Url base{"https://h", "/a/b?q=1/2"};
  const auto full = [&](const char* location) {
    const auto url = resolve_redirect(base, location);
    return url ? url->origin + url->target : "refused";
  };
  EXPECT_EQ(full("https://c.example/x?y"), "https://c.example/x?y");
  EXPECT_EQ(full("//c.example/x"), "https://c.example/x");
  EXPECT_EQ(full("/x?u=http://y"), "https://h/x?u=http://y");
  EXPECT_EQ(full("c"), "https://h/a/c");
  EXPECT_EQ(full("http://h/x"), "refused");
  EXPECT_EQ(full("file:///etc/passwd"), "refused");
  EXPECT_EQ(full(""), "refused");
}

}  // namespace
}  // namespace lamina::app
