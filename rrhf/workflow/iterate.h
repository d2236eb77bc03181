// `rrhf iterate`: sample, score, train, evaluate, and again with the model that came out.
//
// OUTPUT/config.json        the settings
//        inputs.json        hashes of what the run began from
//        queries.jsonl      what every round samples for
//        held-out.jsonl     queries whose answers are scored after each round; only where there are some
//        eval.jsonl         the rows of data.eval in the RRHF layout; only where data.format is another one
//        rounds.jsonl       figures, a line a round
//        round-000/         figures of the model the run began from
//        round-NNN/         round.h
//
// A stage is done when its product is there, and products appear whole. A run that was stopped or killed anywhere goes
// on at the first stage that is not done, and ends with the same bytes.
#pragma once

#include <string>

#include "rrhf/config/run_config.h"

namespace rrhf::workflow {

/// Runs config.iterate.rounds rounds, each from the model of the one before, and returns a table of their figures.
/// With `resume` it goes on with what is in config.output. One process; the log goes to stderr.
/// Throws InputError for anything wrong with settings, queries, model folder or rules before a round begins; Error for
/// a round whose responses are all worth the same; Interrupted when a stop signal comes. What is finished is kept.
std::string iterate(const config::RunConfig& config, bool resume);

}  // namespace rrhf::workflow
