#include "train/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string_view>

#include "train/machine.h"

namespace jreg::train {

namespace {

/// Whether a person watches standard output. mpirun gives ranks a pseudo-terminal even where its own output goes to a
/// file, but never one for standard error; the launch scripts, which know better, set JREG_LIVE=1.
bool watched() {
  char const* const live = std::getenv("JREG_LIVE");
  if (live != nullptr) return std::string_view{live} == "1";
  return isatty(STDOUT_FILENO) == 1 && isatty(STDERR_FILENO) == 1;
}

}  // namespace

Progress::Progress(Scale const& scale, store::RunFolder* folder)
    : scale_{scale}, folder_{folder}, terminal_{folder != nullptr && watched()}, last_{Clock::now()} {}

void Progress::pause() {
  paused_ = Clock::now();
}
void Progress::resume() {
  last_ += Clock::now() - paused_;
}

void Progress::print(std::string const& line) {
  if (folder_ == nullptr) return;
  if (live_shown_) std::fputs("\r\033[K", stdout);
  live_shown_ = false;
  std::fputs((line + "\n").c_str(), stdout);
  std::fflush(stdout);
}

void Progress::event(nlohmann::json const& object) {
  if (folder_ != nullptr) folder_->append_log(object);
}

void Progress::live(std::int64_t step, UpdateResult const& result, double rate, double left) {
  std::fputs(fmt::format("\r\033[Kstep {}/{}  loss {:.4f}  zeta_L {:.3f}  {:.0f} tokens/s  {} left", step,
                         scale_.last_step, result.loss, result.jump.jump_rate.back(), rate, duration_text(left))
                 .c_str(),
             stdout);
  std::fflush(stdout);
  live_shown_ = true;
}

double Progress::updated(std::int64_t step, UpdateResult const& result) {
  auto const now = Clock::now();
  double const seconds = std::chrono::duration<double>(now - last_).count();
  last_ = now;
  ++interval_steps_;
  interval_seconds_ += seconds;
  auto const steps = static_cast<double>(interval_steps_);
  auto const tokens = static_cast<double>(scale_.tokens_per_update);
  if (folder_ != nullptr) {
    double const rate = tokens * steps / interval_seconds_;
    double const left = interval_seconds_ / steps * static_cast<double>(scale_.last_step - step);
    if (step % scale_.log_interval == 0 || step == scale_.last_step) {
      line(step, result, rate, left);
      interval_steps_ = 0;
      interval_seconds_ = 0;
    } else if (terminal_) {
      live(step, result, rate, left);
    }
  }
  return tokens / seconds;
}

void Progress::line(std::int64_t step, UpdateResult const& result, double rate, double left) {
  double const utilisation =
      scale_.flop_per_update * rate / static_cast<double>(scale_.tokens_per_update) / scale_.gemm_rate;
  std::int64_t const memory = peak_resident_bytes();
  print(
      fmt::format("step={} loss={:.5f} jreg={:.6g} zeta_L={:.4f} psi_L={:.5f} lr={:.3e} grad_norm={:.4f} "
                  "tokens_per_s={:.0f} mfu={:.3f} mem_gb={:.2f} left={}",
                  step, result.loss, result.jreg, result.jump.jump_rate.back(), result.jump.displacement.back(),
                  result.learning_rate, result.grad_norm, rate, utilisation, static_cast<double>(memory) / 1e9,
                  duration_text(left)));
  event({{"event", "train"},
         {"time", utc_now()},
         {"step", step},
         {"loss", result.loss},
         {"jreg", result.jreg},
         {"jreg_lambda", result.jreg_lambda},
         {"zeta_L", result.jump.jump_rate.back()},
         {"psi_L", result.jump.displacement.back()},
         {"learning_rate", result.learning_rate},
         {"grad_norm", result.grad_norm},
         {"tokens_per_second", rate},
         {"model_flop_utilisation", utilisation},
         {"peak_memory_bytes", memory},
         {"applied", result.applied}});
}

void Progress::validation(std::int64_t step, double loss) {
  print(fmt::format("step={} validation_loss={:.5f} perplexity={:.3f}", step, loss, std::exp(loss)));
  event({{"event", "validation"}, {"time", utc_now()}, {"step", step}, {"loss", loss}});
}

void Progress::checkpoint(std::int64_t step, store::SaveReport const& report, double seconds, double blocked) {
  std::string const folder = report.folder.string();
  print(fmt::format("step={} checkpoint={} bytes={} seconds={:.2f} blocked={:.3f}", step, folder, report.bytes, seconds,
                    blocked));
  event({{"event", "checkpoint"},
         {"time", utc_now()},
         {"step", step},
         {"folder", folder},
         {"bytes", report.bytes},
         {"seconds", seconds},
         {"blocked_seconds", blocked}});
}

std::string duration_text(double seconds) {
  if (!std::isfinite(seconds)) return "?";
  auto const whole = static_cast<std::int64_t>(seconds + 0.5);
  if (whole >= 3600) return fmt::format("{}h{:02}m", whole / 3600, whole / 60 % 60);
  if (whole >= 60) return fmt::format("{}m{:02}s", whole / 60, whole % 60);
  return fmt::format("{}s", whole);
}

}  // namespace jreg::train
