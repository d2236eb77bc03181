// A conversation with a model at a terminal.
#pragma once

#include "rrhf/workflow/answerer.h"

namespace rrhf::cli {

/// Reads queries from stdin, which must be a terminal, and streams answers to stdout; hints and the prompt go to
/// stderr. Returns when the person leaves. The weights must be loaded. `own_stops`: the stop strings were chosen by the
/// user, and stay when the template changes.
void chat(const workflow::Answerer& answerer, bool own_stops);

}  // namespace rrhf::cli
