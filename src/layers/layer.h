#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cache/kv_cache.h"
#include "kernels/rope.h"
#include "layers/record.h"
#include "layers/step.h"
#include "layers/weights.h"

namespace lamina::layers {

/// What a maker of layers may add to while a model is built.
struct BuildContext {
  Weights& weights;
  std::vector<kernels::RopeOptions>& ropes;  ///< the distinct rotary embeddings of the model
  int64_t encoded = 0;                       ///< width of the encoder's rows, which cross attention reads; 0: none
};

/// Matrices of which a token uses only some: those of `used` of `count` experts.
struct Experts {
  int64_t count = 0;
  int64_t used = 0;
  std::vector<const Linear*> linears;
};

/// Half of a transformer layer: reads the stream, adds to it. The unit that recipes can drop.
class Sublayer {
 public:
  virtual ~Sublayer() = default;

  /// stream += f(input), both [step.rows, hidden]; input is the stream itself unless residuals are parallel.
  virtual void forward(Step& step, const float* input, float* stream) const = 0;
  /// Arena bytes that forward() takes at most.
  virtual int64_t arena_bytes(const StepLimits& limits) const = 0;
  /// Scratch bytes per thread.
  virtual int64_t scratch_bytes(const StepLimits& limits) const = 0;
  /// What forward() leaves in the cache, and nothing else: the stream stays as it is. False, with nothing done, where
  /// forward() alone can do that.
  virtual bool keep(Step& /*step*/, const float* /*input*/) const {
    const cache::VisitShape shape = cache_shape();
    return !shape.keeps_keys() && !shape.keeps_state();
  }
  /// What a visit of this sublayer keeps per position and per sequence; all zero when it keeps nothing.
  virtual cache::VisitShape cache_shape() const { return {}; }
  /// Whether a row reads rows after it: a text must then come whole in one step, and nothing of it is kept.
  virtual bool reads_ahead() const { return false; }
  /// What it keeps of each position of the encoder's output, for cross attention; all zero for others.
  virtual cache::VisitShape encoded_shape() const { return {}; }
  /// Writes that of step.rows rows of the encoder's output, which step.groups places, into step.encoded. Takes at most
  /// arena_bytes and scratch_bytes, too.
  virtual void encode(Step& /*step*/, const float* /*encoded*/) const {}
  /// Its matrices, for listing and for counting bytes.
  virtual std::vector<const Linear*> linears() const = 0;
  /// Those of them that belong to experts.
  virtual Experts experts() const { return {}; }
};

/// One step of the stack: sublayers by role, in order. "attn" and "mixer" mix tokens, "cross" reads an encoder's, "mlp"
/// works on each by itself.
struct Layer {
  struct Part {
    std::string role;
    std::string kind;
    std::unique_ptr<Sublayer> sublayer;
    std::vector<std::string> tensors;  ///< names in the file that no earlier part uses, for listing
  };

  int index = 0;
  bool parallel = false;  ///< all parts read the layer's input
  std::vector<Part> parts;

  /// Builds a layer from its resolved record {residual, order, <role>: {...}}.
  static core::Result<Layer> make(int index, Record record, BuildContext& context);
  /// Packed bytes of its matrices.
  int64_t bytes() const;
  int64_t parameters() const;
};

/// Makes the sublayer whose record has that "kind", or an error that lists the kinds.
core::Result<std::unique_ptr<Sublayer>> make_sublayer(const std::string& kind, Record& record, BuildContext& context);

/// Makers, one per kind (registry.cpp lists them).
core::Result<std::unique_ptr<Sublayer>> make_attention(Record& record, BuildContext& context);
core::Result<std::unique_ptr<Sublayer>> make_latent_attention(Record& record, BuildContext& context);
core::Result<std::unique_ptr<Sublayer>> make_cross_attention(Record& record, BuildContext& context);
core::Result<std::unique_ptr<Sublayer>> make_gated_mlp(Record& record, BuildContext& context);
core::Result<std::unique_ptr<Sublayer>> make_mlp(Record& record, BuildContext& context);
core::Result<std::unique_ptr<Sublayer>> make_moe(Record& record, BuildContext& context);
core::Result<std::unique_ptr<Sublayer>> make_short_convolution(Record& record, BuildContext& context);
core::Result<std::unique_ptr<Sublayer>> make_state_space(Record& record, BuildContext& context);

}  // namespace lamina::layers
