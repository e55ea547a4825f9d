#include "compress/importance.h"

namespace lamina::compress {

Importance::Importance(const stats::Statistics& statistics, const format::ModelFiles& files)
    : grams_(statistics.grams) {
  for (const format::NamedTensor& tensor : files.tensors()) {
    const stats::MatrixStats* own = statistics.find(tensor.name);
    if (own == nullptr || tensor.view.bytes() == 0) continue;
    Tensor entry{.begin = tensor.view.data,
                 .matrix_bytes = tensor.view.bytes() / own->matrices(),
                 .matrices = {},
                 .grams = own->grams};
    for (int64_t i = 0; i < own->matrices(); ++i) entry.matrices.push_back(own->importance(i));
    tensors_[tensor.view.data + tensor.view.bytes()] = std::move(entry);
  }
}

const Importance::Tensor* Importance::tensor_of(const std::byte* address, size_t& matrix) const {
  const auto found = tensors_.upper_bound(address);
  if (found == tensors_.end() || address < found->second.begin) return nullptr;
  matrix = static_cast<size_t>((address - found->second.begin) / found->second.matrix_bytes);
  return matrix < found->second.matrices.size() ? &found->second : nullptr;
}

const std::vector<float>* Importance::find(const std::byte* address) const {
  size_t matrix = 0;
  const Tensor* tensor = tensor_of(address, matrix);
  return tensor == nullptr || tensor->matrices[matrix].empty() ? nullptr : &tensor->matrices[matrix];
}

const stats::Gram* Importance::find_gram(const std::byte* address) const {
  size_t matrix = 0;
  const Tensor* tensor = tensor_of(address, matrix);
  if (tensor == nullptr || matrix >= tensor->grams.size() || tensor->grams[matrix] < 0) return nullptr;
  return &grams_[static_cast<size_t>(tensor->grams[matrix])];
}

}  // namespace lamina::compress
