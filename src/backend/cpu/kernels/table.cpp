#include "backend/cpu/kernels/level.h"

#define JREG_TEXT_OF(name) #name
#define JREG_TEXT(name) JREG_TEXT_OF(name)

namespace jreg::backend::cpu::JREG_KERNEL_LEVEL {

extern KernelTable const table;
KernelTable const table{
    .name = JREG_TEXT(JREG_KERNEL_LEVEL),
    .residual_norm = residual_norm,
    .norm_again = norm_again,
    .norm_backward = norm_backward,
    .rope = rope,
    .swiglu = swiglu,
    .swiglu_backward = swiglu_backward,
    .logits_max = logits_max,
    .logits_sum = logits_sum,
    .logits_gradient = logits_gradient,
    .angular_sums = angular_sums,
    .embedding_backward = embedding_backward,
    .adamw = adamw,
    .squares = squares,
    .add_partials = add_partials,
    .to_bf16 = to_bf16,
    .to_f32 = to_f32,
    .attention_scratch = attention_scratch,
    .attention = attention,
    .attention_backward_scratch = attention_backward_scratch,
    .attention_backward = attention_backward,
    .multiply_add = multiply_add,
    .bf16_dot = bf16_dot,
};

}  // namespace jreg::backend::cpu::JREG_KERNEL_LEVEL
