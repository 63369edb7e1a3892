// The report: the page of one experiment from the JSON in this file. selfexplore_tasks/pages/report.py puts it, and
// the modules it imports, into one script.

import { append, h } from "./dom.js";
import { experimentParts, origin, summary } from "./experiment_parts.js";

const reported = JSON.parse(document.getElementById("page").textContent);
append(document.getElementById("report"), [
  h(
    "div",
    { class: "page-head" },
    h("div", {}, h("h1", {}, reported.experiment.experiment), h("p", {}, origin(reported.experiment))),
  ),
  summary(reported.experiment),
  experimentParts(reported),
]);
