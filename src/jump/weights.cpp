#include "jump/weights.h"

#include <charconv>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <string_view>

#include "base/error.h"

namespace jreg::jump {
namespace {

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

double number(std::string const& shape, std::string_view text) {
  text = trimmed(text);
  double value = 0;
  char const* const end = text.data() + text.size();
  auto const [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || stop != end || !std::isfinite(value)) {
    throw UserError("jreg.weights = {}: '{}' is not a finite number", shape, text);
  }
  return value;
}

std::vector<double> numbers(std::string const& shape) {
  std::vector<double> values;
  std::string_view rest = shape;
  for (;;) {
    std::size_t const comma = rest.find(',');
    values.push_back(number(shape, rest.substr(0, comma)));
    if (comma == std::string_view::npos) return values;
    rest.remove_prefix(comma + 1);
  }
}

bool starts_a_number(std::string const& shape) {
  return !shape.empty() && std::string_view{"+-.0123456789 "}.find(shape.front()) != std::string_view::npos;
}

std::vector<double> raw_weights(std::string const& shape, std::int64_t layers) {
  std::vector<double> weights(static_cast<std::size_t>(layers));
  auto const fill = [&weights](auto&& weight_of) {
    for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = weight_of(static_cast<double>(i + 1));
  };
  auto const last = static_cast<double>(layers);
  if (shape == "linear") {
    fill([](double layer) { return layer; });
  } else if (shape == "uniform") {
    fill([](double) { return 1.0; });
  } else if (shape == "final") {
    weights.back() = 1;
  } else if (shape.starts_with("power:")) {
    double const power = number(shape, std::string_view{shape}.substr(6));
    fill([=](double layer) { return std::pow(layer / last, power); });
  } else if (shape.starts_with("geometric:")) {
    double const ratio = number(shape, std::string_view{shape}.substr(10));
    fill([=](double layer) { return std::pow(ratio, last - layer); });
  } else if (starts_a_number(shape)) {
    weights = numbers(shape);
    if (std::ssize(weights) != layers) {
      throw UserError("jreg.weights = {}: {} numbers, but model.layers = {}", shape, weights.size(), layers);
    }
  } else {
    throw UserError(
        "jreg.weights = {}: must be linear, uniform, final, power:P, geometric:G or {} numbers with commas "
        "between them",
        shape, layers);
  }
  return weights;
}

}  // namespace

std::vector<double> depth_weights(std::string const& shape, std::string const& penalty, std::int64_t layers) {
  if (layers < 2) throw UserError("model.layers = {}: jreg.weights = {} needs at least 2 layers", layers, shape);
  std::vector<double> weights = raw_weights(shape, layers);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (!(weights[i] >= 0) || !std::isfinite(weights[i])) {
      throw UserError("jreg.weights = {}: the weight of layer {} is {}; weights must be finite and not negative", shape,
                      i + 1, weights[i]);
    }
  }
  bool const first_is_free = penalty == "jump";
  if (first_is_free) weights.front() = 0;
  double const sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  if (!(sum > 0) || !std::isfinite(sum)) {
    throw UserError("jreg.weights = {}: the weights of layers {} to {} sum to {}; the sum must be positive and finite",
                    shape, first_is_free ? 2 : 1, layers, sum);
  }
  for (double& weight : weights) weight /= sum;
  return weights;
}

}  // namespace jreg::jump
