#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "compress/tensor_map.h"

namespace lamina::compress {

/// What holds for a record and everything inside it.
struct WalkContext {
  int layer = -1;
  std::string role{};
  std::string key{};
  nlohmann::json part{};  ///< the part's record: sizes and kind
  int64_t experts = 0;
  bool shared = false;
};

/// Goes through the records of a model, side by side with those of the target, and makes a piece of each tensor.
class TensorWalk {
 public:
  TensorWalk(const models::Model& model, format::Container container);

  core::Status walk(const nlohmann::json& from, const nlohmann::json& to, const WalkContext& context);
  /// Every tensor that a layer uses must have been met, or be one of `said`.
  core::Status check_complete(const std::set<std::string>& said) const;
  std::vector<Piece> take() { return std::move(pieces_); }

 private:
  using Key = std::tuple<std::string, int64_t, bool>;

  const core::TensorView* find(const std::string& name) const {
    return model_.files().find(model_.weights().file_name(name));
  }
  bool names_tensor(const nlohmann::json& value) const;
  std::unexpected<core::Error> no_place(const std::string& name) const;
  core::Status field(const nlohmann::json& from, const nlohmann::json& to, const std::string& name,
                     const WalkContext& context);
  core::Status add(const nlohmann::json& from, const nlohmann::json& to, const std::string& field,
                   const WalkContext& context);
  core::Status add_factors_of(const nlohmann::json& from, const nlohmann::json& to, const WalkContext& context);
  core::Status add_experts(const Piece& piece, bool bias, const WalkContext& context);
  core::Status add_heads(const nlohmann::json& from, const nlohmann::json& to, const WalkContext& context);
  core::Status add_head(const Stored& from, const Stored& to, int64_t outputs, int64_t inputs,
                        const WalkContext& context);
  core::Status add_factors(const nlohmann::json& from, const nlohmann::json& to, const WalkContext& context);
  void add_literal(std::vector<float> numbers, const std::string& target, const WalkContext& context);
  core::Status place(Piece piece, const WalkContext& context);
  void set_order(size_t first, const nlohmann::json& from, const nlohmann::json& to);
  bool in_blocks(const std::string& tensor) const;
  std::vector<int64_t> array_shape(const Piece& piece, const WalkContext& context) const;

  const models::Model& model_;
  format::Container container_;
  std::map<Key, int64_t> outputs_;
  std::vector<Piece> pieces_;
  std::set<std::string> seen_;
};

}  // namespace lamina::compress
