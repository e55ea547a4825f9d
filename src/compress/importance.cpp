#include "compress/importance.h"

namespace lamina::compress {

Importance::Importance(const stats::Statistics& statistics, const format::ModelFiles& files) {
  for (const format::NamedTensor& tensor : files.tensors()) {
    const stats::MatrixStats* own = statistics.find(tensor.name);
    if (own == nullptr || tensor.view.bytes() == 0) continue;
    Tensor entry{.begin = tensor.view.data, .matrix_bytes = tensor.view.bytes() / own->matrices(), .matrices = {}};
    for (int64_t i = 0; i < own->matrices(); ++i) entry.matrices.push_back(own->importance(i));
    tensors_[tensor.view.data + tensor.view.bytes()] = std::move(entry);
  }
}

const std::vector<float>* Importance::find(const std::byte* address) const {
  const auto found = tensors_.upper_bound(address);
  if (found == tensors_.end() || address < found->second.begin) return nullptr;
  const Tensor& tensor = found->second;
  const auto index = static_cast<size_t>((address - tensor.begin) / tensor.matrix_bytes);
  if (index >= tensor.matrices.size() || tensor.matrices[index].empty()) return nullptr;
  return &tensor.matrices[index];
}

}  // namespace lamina::compress
