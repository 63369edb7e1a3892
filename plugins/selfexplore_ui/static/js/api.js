// The page's requests: our API below `api/`, Airflow's own beside us. The session's cookie says who asks.

/** Every path of our API that the page uses, as OpenAPI writes it; tests/plugins/test_static.py compares them. */
export const PATHS = {
  experiments: "/experiments",
  experiment: "/experiments/{experiment}",
  problems: "/experiments/{experiment}/problems",
  problem: "/experiments/{experiment}/problems/{problem_id}",
  pause: "/experiments/{experiment}/pause",
  resume: "/experiments/{experiment}/resume",
  cancel: "/experiments/{experiment}/cancel",
  fork: "/experiments/{experiment}/fork",
  me: "/me",
  run: "/runs/{run_id}",
  compare: "/compare",
  recipes: "/recipes",
  recipe: "/recipes/{name}",
  check: "/recipes/check",
  schema: "/sql/schema",
  queries: "/sql/queries",
  history: "/sql/history",
  sql: "/sql",
  download: "/sql/download",
  report: "/report/{experiment}",
};

export const MOST_EXPERIMENTS = 1000; // that one answer lists
export const ROUND_DAG = "selfexplore_round";

/** What a request came back with; `body` is the JSON of the answer, if it was JSON. */
export class ApiError extends Error {
  constructor(message, status, body) {
    super(message);
    this.status = status;
    this.body = body;
  }
}

/** The address of a path with its parts and query filled in. */
export function apiUrl(name, parts = {}, query = {}) {
  const path = PATHS[name].replace(/\{(\w+)\}/g, (_, part) => encodeURIComponent(parts[part]));
  const url = new URL(`api${path}`, document.baseURI);
  for (const [key, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") url.searchParams.append(key, value);
  }
  return url;
}

export function get(name, parts, query, signal) {
  return json(apiUrl(name, parts, query), { signal });
}

export function post(name, parts, body, signal) {
  return json(apiUrl(name, parts), { ...withBody(body), signal });
}

/** POST that answers with a file; `cut` is the number of rows that it was cut to, null where it is whole. */
export async function postForFile(name, body) {
  const response = await request(apiUrl(name), withBody(body));
  const cut = response.headers.get("X-Selfexplore-Cut");
  return { file: await response.blob(), cut: cut === null ? null : Number(cut) };
}

/** Experiments from `offset` on, at most `limit`, the newest first, and how many there are. */
export async function experimentList(offset, limit, signal) {
  const response = await request(apiUrl("experiments", {}, { offset, limit }), { signal });
  const rows = await response.json();
  return { rows, total: Number(response.headers.get("X-Total-Count") ?? rows.length) };
}

/** Start a round as the user, through Airflow's own API; returns the Dag run. */
export function triggerRound(conf) {
  return json(airflowUrl(`dags/${ROUND_DAG}/dagRuns`), withBody({ logical_date: null, conf }));
}

/** The Dag of a round as Airflow knows it. */
export function roundDag() {
  return json(airflowUrl(`dags/${ROUND_DAG}`), {});
}

function airflowUrl(path) {
  return new URL(`../api/v2/${path}`, document.baseURI);
}

function withBody(body) {
  return { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body ?? {}) };
}

async function json(url, options) {
  const response = await request(url, options);
  return response.status === 204 ? null : response.json();
}

async function request(url, options) {
  let response;
  try {
    response = await fetch(url, { ...options, credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("Airflow does not answer. Is its API server running?", 0, null);
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  const sentence = errorSentence(response.status, body, (options?.method ?? "GET") !== "GET");
  throw new ApiError(sentence, response.status, body);
}

/** What an answer that is no success means, in a sentence for the reader. */
export function errorSentence(status, body, isChange) {
  const detail = body?.detail ?? body?.message;
  if (status === 401) return "Your session has ended: log in to Airflow again, then reload this page.";
  if (status === 403 && (typeof detail !== "string" || detail === "Forbidden")) {
    return isChange
      ? `You may look, but not change anything here: that takes the right to trigger the Dag ${ROUND_DAG}.`
      : `You may not see this: it takes the rights to view plugins and the runs of the Dag ${ROUND_DAG}.`;
  }
  if (typeof detail === "string") return detail;
  if (typeof detail?.message === "string") return detail.message;
  if (Array.isArray(detail)) return detail.map((one) => `${(one.loc ?? []).join(".")}: ${one.msg}`).join("; ");
  return `Airflow answered with status ${status}.`;
}
