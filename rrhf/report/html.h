// The pieces that pages are made of.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "rrhf/report/report.h"

namespace rrhf::report {

/// A whole page; `title` and `lead` are text, `body` is HTML.
std::string html_page(std::string_view title, std::string_view lead, std::string_view body);

/// What html_report() shows under its title: differences, evaluations, curves of all runs on common axes, settings.
std::string runs_in_html(std::span<const RunRecord> runs);

}  // namespace rrhf::report
