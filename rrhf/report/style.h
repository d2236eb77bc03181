// The style sheet of the report page, readable in light and dark.
#pragma once

#include <string_view>

namespace rrhf::report {

// The series colors stay apart for people who confuse red and green, on both backgrounds.
inline constexpr std::string_view style_sheet = R"(
:root { color-scheme: light dark; --page: #f7f7f5; --card: #ffffff; --text: #1d1f23; --soft: #63676e; --rule: #e3e3df; --axis: #a5a8ad;
  --s0: #1f6fc4; --s1: #c2500d; --s2: #0a8a68; --s3: #a1478f; --s4: #8a6d00; --s5: #3a9ad0; --s6: #5b4bb5; --s7: #b02a4a; }
@media (prefers-color-scheme: dark) {
  :root { --page: #141619; --card: #1c1f24; --text: #e8e9eb; --soft: #9ba1aa; --rule: #2e3238; --axis: #60666f;
    --s0: #5ea8f2; --s1: #f0894a; --s2: #3fc79c; --s3: #dc8bcb; --s4: #d9b532; --s5: #86cdf0; --s6: #a69bf0; --s7: #f27d95; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1240px; padding: 28px 20px 48px; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 24px; margin: 0 0 2px; } h2 { font-size: 17px; margin: 30px 0 10px; }
.lead, figcaption span, .notes { color: var(--soft); } .lead { margin: 0 0 18px; }
h1 + .lead { margin-top: 0; } .card + .lead { margin-top: 10px; margin-bottom: 0; } .lead + .lead { margin-top: 0; } .lead + .charts { margin-top: 14px; }
body > h1:not(:first-child) { margin-top: 44px; }
.card, figure, details { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; }
.card { overflow-x: auto; padding: 4px 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 7px 16px; text-align: right; white-space: nowrap; } th { color: var(--soft); font-weight: 500; font-size: 13px; }
tbody tr { border-top: 1px solid var(--rule); } tbody tr.same { border-top: 0; } .name { text-align: left; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); gap: 16px; }
figure { margin: 0; padding: 14px 16px 8px; } figcaption { margin-bottom: 2px; } figcaption span { font-size: 13px; margin-left: 4px; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; font-size: 13px; color: var(--soft); }
.key { display: inline-block; width: 14px; height: 0; border-top: 3px solid var(--c); margin-right: 6px; vertical-align: middle; border-radius: 2px; }
.keyeval { width: 9px; height: 9px; border: 0; border-radius: 50%; background: var(--c); }
svg { display: block; width: 100%; height: auto; margin-top: 4px; } .tick { fill: var(--soft); font-size: 12px; }
.grid { stroke: var(--rule); } .axis { stroke: var(--axis); } polyline { fill: none; stroke: var(--c); stroke-linejoin: round; stroke-linecap: round; }
.line { stroke-width: 2; } .raw { stroke-width: 1; opacity: .28; } .many .raw { opacity: .13; } .eval { stroke-width: 1.5; stroke-dasharray: 2 5; }
.mark { fill: var(--c); stroke: var(--card); stroke-width: 1; }
.reach { fill: transparent; } .start { --c: var(--soft); } .mean { stroke: var(--c); stroke-width: 2.5; } .start .tick, g > .tick { fill: var(--text); }
.probe rect { fill: transparent; } .probe line { stroke: var(--axis); visibility: hidden; }
.dot { fill: var(--c); stroke: var(--card); stroke-width: 1.5; visibility: hidden; } .probe:hover line, .probe:hover .dot { visibility: visible; }
details { padding: 10px 16px; margin-bottom: 10px; } summary { cursor: pointer; } pre { overflow-x: auto; font-size: 13px; }
.s0 { --c: var(--s0); } .s1 { --c: var(--s1); } .s2 { --c: var(--s2); } .s3 { --c: var(--s3); }
.s4 { --c: var(--s4); } .s5 { --c: var(--s5); } .s6 { --c: var(--s6); } .s7 { --c: var(--s7); }
)";

}  // namespace rrhf::report
