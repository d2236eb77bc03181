#include "rrhf/checkpoint/initial_model.h"

#include <ATen/ATen.h>

#include "rrhf/checkpoint/folder_files.h"
#include "rrhf/checkpoint/folder_writer.h"
#include "rrhf/checkpoint/walk.h"
#include "rrhf/core/staged_folder.h"
#include "rrhf/model/weights.h"

namespace rrhf::checkpoint {
namespace {

// In the order in which they are drawn.
std::vector<TensorSpec> specs_of(const model::LlamaConfig& config, at::ScalarType dtype) {
  std::vector<TensorSpec> specs;
  const auto shapes = model::tensor_shapes(config);
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    for (const auto& part : model::named_parts(i, at::empty(shapes[i], at::kMeta), config)) {
      specs.push_back({part.name, dtype, part.view.sizes().vec()});
    }
  }
  return specs;
}

}  // namespace

void init_model(const InitModel& settings) {
  const model::LlamaConfig& config = settings.config;
  const CarriedFiles tokenizer(settings.tokenizer, CarriedFiles::What::tokenizer);
  StagedFolder folder(settings.out);
  const std::vector<TensorSpec> specs = specs_of(config, model::scalar_type(settings.dtype));
  std::int64_t bytes = 0;
  for (const TensorSpec& spec : specs) bytes += spec.bytes();
  FolderWriter writer(folder.path(), specs, {});
  WalkProgress progress("drawing", bytes);
  std::size_t next = 0;
  model::draw_initial(config, settings.seed, [&](std::size_t i, const at::Tensor& value) {
    for (const auto& part : model::named_parts(i, value, config)) {
      writer.write(part.view);
      progress.advance(specs[next++].bytes());
    }
  });
  writer.finish();
  tokenizer.write(folder.path());
  write_configs(folder.path(), config, settings.dtype);
  folder.publish();
}

}  // namespace rrhf::checkpoint
