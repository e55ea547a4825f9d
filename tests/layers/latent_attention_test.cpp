// Latent attention in its compressed form against the expanded computation, in double precision.
#include "latent_fixture.h"

namespace lamina::layers {
namespace {

using Rows = std::vector<std::vector<double>>;

std::vector<float> random_stream(int64_t rows, int64_t hidden) {
  std::mt19937 random(11);
  std::normal_distribution<float> normal;
  std::vector<float> stream(static_cast<size_t>(rows * hidden));
  for (float& x : stream) x = normal(random);
  return stream;
}

std::vector<double> rms_norm(const LatentFile& file, const std::string& weight, std::vector<double> x) {
  double squares = 0;
  for (const double v : x) squares += v * v;
  const double factor = 1 / std::sqrt(squares / static_cast<double>(x.size()) + 1e-6);
  for (size_t i = 0; i < x.size(); ++i) x[i] *= factor * file.at(weight, static_cast<int64_t>(i));
  return x;
}

std::vector<double> product(const LatentFile& file, const std::string& name, const std::vector<double>& x) {
  const auto inputs = static_cast<int64_t>(x.size());
  const int64_t outputs = static_cast<int64_t>(file.numbers(name).size()) / inputs;
  std::vector<double> y(static_cast<size_t>(outputs));
  for (int64_t o = 0; o < outputs; ++o) {
    for (int64_t i = 0; i < inputs; ++i)
      y[static_cast<size_t>(o)] += file.at(name, o * inputs + i) * x[static_cast<size_t>(i)];
  }
  return y;
}

/// Turns neighbouring pairs, base 100.
void rotate(double* x, int64_t size, int64_t position) {
  for (int64_t i = 0; i < size; i += 2) {
    const double angle =
        static_cast<double>(position) * std::pow(100.0, -static_cast<double>(i) / static_cast<double>(size));
    const double a = x[i];
    const double b = x[i + 1];
    x[i] = a * std::cos(angle) - b * std::sin(angle);
    x[i + 1] = a * std::sin(angle) + b * std::cos(angle);
  }
}

/// What each position gives to attention, the keys and values of all heads written out.
struct Expanded {
  Rows queries;  ///< [heads * (nope + rotary)]
  Rows keys;     ///< the same
  Rows values;   ///< [heads * value]
};

void expand(const LatentFile& file, const std::vector<double>& input, Expanded& all) {
  const LatentSizes& s = file.sizes();
  const auto position = static_cast<int64_t>(all.keys.size());
  const std::vector<double> x = rms_norm(file, "norm", input);
  std::vector<double> q =
      s.query_rank > 0 ? product(file, "q", rms_norm(file, "q_norm", product(file, "q_a", x))) : product(file, "q", x);
  const std::vector<double> kv = product(file, "kv_a", x);
  const std::vector<double> latent = rms_norm(file, "kv_norm", {kv.begin(), kv.begin() + s.latent});
  std::vector<double> turned(kv.begin() + s.latent, kv.end());
  rotate(turned.data(), s.rotary, position);
  std::vector<double> keys;
  std::vector<double> values;
  for (int64_t head = 0; head < s.heads; ++head) {
    rotate(q.data() + head * (s.nope + s.rotary) + s.nope, s.rotary, position);
    const auto part = [&](int64_t size, auto&& weight, std::vector<double>& out) {
      for (int64_t i = 0; i < size; ++i) {
        double sum = 0;
        for (int64_t l = 0; l < s.latent; ++l) sum += weight(head, i, l) * latent[static_cast<size_t>(l)];
        out.push_back(sum);
      }
    };
    part(s.nope, [&](int64_t h, int64_t i, int64_t l) { return file.key_weight(h, i, l); }, keys);
    keys.insert(keys.end(), turned.begin(), turned.end());
    part(s.value, [&](int64_t h, int64_t i, int64_t l) { return file.value_weight(h, i, l); }, values);
  }
  all.queries.push_back(std::move(q));
  all.keys.push_back(std::move(keys));
  all.values.push_back(std::move(values));
}

std::vector<double> attend(const LatentFile& file, const Expanded& all, size_t row) {
  const LatentSizes& s = file.sizes();
  const auto size = static_cast<size_t>(s.nope + s.rotary);
  const auto value_size = static_cast<size_t>(s.value);
  std::vector<double> out(static_cast<size_t>(s.heads * s.value));
  for (size_t head = 0; head < static_cast<size_t>(s.heads); ++head) {
    std::vector<double> weights;
    double sum = 0;
    for (size_t key = 0; key <= row; ++key) {
      double score = 0;
      for (size_t i = head * size; i < (head + 1) * size; ++i) score += all.queries[row][i] * all.keys[key][i];
      weights.push_back(std::exp(score * file.scale()));
      sum += weights.back();
    }
    for (size_t key = 0; key <= row; ++key) {
      for (size_t i = head * value_size; i < (head + 1) * value_size; ++i)
        out[i] += weights[key] / sum * all.values[key][i];
    }
  }
  return product(file, "o", out);
}

/// The stream after the layer.
std::vector<double> expanded(const LatentFile& file, const std::vector<float>& stream) {
  const auto hidden = static_cast<size_t>(file.sizes().hidden);
  Expanded all;
  std::vector<double> out;
  for (size_t row = 0; row * hidden < stream.size(); ++row) {
    const std::vector<double> input(stream.begin() + static_cast<int64_t>(row * hidden),
                                    stream.begin() + static_cast<int64_t>((row + 1) * hidden));
    expand(file, input, all);
    const std::vector<double> added = attend(file, all, row);
    for (size_t i = 0; i < hidden; ++i) out.push_back(input[i] + added[i]);
  }
  return out;
}

double worst_error(const std::vector<float>& found, const std::vector<double>& wanted) {
  double worst = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    const double error = std::abs(static_cast<double>(found[i]) - wanted[i]);
    if (!(error <= worst)) worst = error;
  }
  return worst;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

void expect_expanded(const LatentSizes& sizes, bool exact, double bound) {
  const LatentFile file(sizes);
  const auto stream = random_stream(70, sizes.hidden);
  LatentRun run(file, exact, 2, 128);
  EXPECT_LT(worst_error(run.run(stream, {70}), expanded(file, stream)), bound);
}

TEST(LatentAttention, EqualsTheExpandedComputation) {
  expect_expanded({}, true, 2e-5);
}

TEST(LatentAttention, EqualsTheExpandedComputationWithLowRankQueries) {
  expect_expanded({.heads = 3, .latent = 21, .nope = 7, .rotary = 4, .value = 9, .query_rank = 11}, true, 2e-5);
}

TEST(LatentAttention, ReadsTheTwoPartsThatNewerFilesHave) {
  expect_expanded({.split = true}, true, 2e-5);
  expect_expanded({.split = true, .codec = "bf16"}, true, 2e-5);
  expect_expanded({.split = true, .codec = "q8_0"}, true, 2e-5);
}

TEST(LatentAttention, TurnsBlocksOfTheJointTensor) {
  expect_expanded({.codec = "bf16"}, true, 2e-5);
  expect_expanded({.codec = "q8_0"}, true, 2e-5);
  expect_expanded({.codec = "q4_0"}, true, 2e-5);
  // Keys become f16, values are multiplied with activations of 8 bits.
  expect_expanded({.codec = "q8_0"}, false, 0.03);
}

TEST(LatentAttention, PiecesThreadsAndSlicesOfHeadsChangeNothing) {
  for (const LatentSizes& sizes :
       {LatentSizes{.query_rank = 17}, LatentSizes{.heads = 50, .latent = 18, .nope = 4, .codec = "f16"}}) {
    const LatentFile file(sizes);
    // More than one segment of keys, and a step in the last chunk.
    const int64_t rows = sizes.heads > 20 ? 80 : 600;
    const auto stream = random_stream(rows, sizes.hidden);
    for (const auto format : {kernels::CacheFormat::kF32, kernels::CacheFormat::kF16}) {
      const auto wanted = LatentRun(file, false, 1, rows).run(stream, {rows}, format);
      for (const int threads : {1, 2, 5}) {
        LatentRun run(file, false, threads, rows);
        for (const std::vector<int64_t>& pieces :
             {std::vector<int64_t>{rows}, {rows - 3, 3}, {rows - 20, 1}, {rows - 70, 4, 17, 2}}) {
          EXPECT_TRUE(same_bits(run.run(stream, pieces, format), wanted)) << threads << " threads, " << pieces[0];
        }
      }
    }
  }
}

TEST(LatentAttention, KeepsTheLatentAndTheRotatedPartAlone) {
  const LatentSizes sizes{.latent = 48, .rotary = 16};
  const LatentFile file(sizes);
  cache::VisitShape shape = LatentRun(file, true, 1, 64).sublayer().cache_shape();
  using kernels::CacheFormat;
  for (const auto& [format, bytes] :
       {std::pair{CacheFormat::kF32, 256}, {CacheFormat::kF16, 128}, {CacheFormat::kQ8_0, 64 + 2}}) {
    shape.format = format;
    const int64_t positions = 640;
    // An address and a block's number for the sequence; of the block its holders, those that are kept texts, its place
    // in the list of free ones.
    const int64_t tables = 10 * (8 + 4 + 3 * 4);
    EXPECT_EQ(cache::KvCache::bytes({.visits = {shape}, .tokens = positions}).total(), positions * bytes + tables);
  }
}

std::string message_of(const LatentFile& file, const nlohmann::json& patch) {
  const format::ModelFiles files = format::ModelFiles::open(file.path()).value();
  Weights weights(files, false);
  std::vector<kernels::RopeOptions> ropes;
  BuildContext context{.weights = weights, .ropes = ropes};
  nlohmann::json json = file.record();
  json.merge_patch(patch);
  Record record(json, "layer 3: attn");
  const auto made = make_sublayer("latent_attention", record, context);
  return made ? "" : made.error().text();
}

TEST(LatentAttention, WrongRecordsAreErrorsThatSayWhatIsRight) {
  const LatentFile file(LatentSizes{});
  EXPECT_EQ(message_of(file, {{"heads", 300}}), "layer 3: attn: 300 heads; at most 256 expected");
  EXPECT_EQ(message_of(file, {{"kv_b", {{"weight", nullptr}, {"keys", nullptr}}}}),
            "layer 3: attn: kv_b: names neither one weight nor keys and values");
  const std::string shape = message_of(file, {{"nope", 31}});
  EXPECT_NE(shape.find("tensor q has shape [494, 32]; [481, 32] expected"), std::string::npos) << shape;
  const std::string missing = message_of(file, {{"query_rank", 8}});
  EXPECT_NE(missing.find("q"), std::string::npos);
}

}  // namespace
}  // namespace lamina::layers
