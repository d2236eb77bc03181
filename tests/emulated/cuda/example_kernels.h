// Kernels of one block or a few, right and wrong in one way each, for the test of what runs them.
#pragma once

struct CUstream_st;

namespace rrhf::emulated {

enum class Example {
  sum_of_block,           ///< numbers[0 .. 63] all become their sum
  write_after_shuffle,    ///< numbers[0] read by a warp, shuffled, written
  no_barrier,             ///< shared memory of another warp read without one
  nobody_wrote,           ///< shared memory read before anything was written
  one_too_far,            ///< numbers[64] written
  not_aligned,            ///< 16 bytes read at numbers + 1
  parts_not_aligned,      ///< the same into registers, each of which is then used alone
  shared_too_far,         ///< one behind the launch's shared memory
  into_another_array,     ///< one behind an array of the block, where another may stand
  two_blocks,             ///< both write numbers[0]
  read_while_written,     ///< one block reads what the other writes
  shuffle_is_no_barrier,  ///< written, shuffled, read by another thread
  different_barriers,
  barrier_of_some,  ///< half of a warp waits at a barrier, half at a shuffle
  shuffle_with_ended,
  half_a_warp,
  beyond_the_warp,  ///< a shuffle with lane 32
  too_many_threads,
};

/// `numbers`: 64 of them, on the emulated GPU. False where the launch is refused.
bool run_example(Example example, float* numbers, CUstream_st* stream);

}  // namespace rrhf::emulated
