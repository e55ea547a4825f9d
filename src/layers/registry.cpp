#include <array>

#include "layers/layer.h"

namespace lamina::layers {

namespace {

struct Kind {
  std::string_view name;
  core::Result<std::unique_ptr<Sublayer>> (*make)(Record& record, BuildContext& context);
};

constexpr std::array kKinds{
    Kind{"attention", make_attention},
    Kind{"latent_attention", make_latent_attention},
    Kind{"cross_attention", make_cross_attention},
    Kind{"gated_mlp", make_gated_mlp},
    Kind{"mlp", make_mlp},
    Kind{"moe", make_moe},
    Kind{"short_convolution", make_short_convolution},
    Kind{"state_space", make_state_space},
};

}  // namespace

core::Result<std::unique_ptr<Sublayer>> make_sublayer(const std::string& kind, Record& record, BuildContext& context) {
  std::string known;
  for (const Kind& entry : kKinds) {
    if (entry.name == kind) return entry.make(record, context);
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  return core::fail(core::ErrorCode::kInvalid, record.place(), "layer kind \"{}\" is unknown; one of {} expected", kind,
                    known);
}

}  // namespace lamina::layers
