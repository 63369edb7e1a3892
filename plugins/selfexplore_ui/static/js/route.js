// Every state of the page has an address behind the hash: `#/problems/demo?status=solved`.

/** Parts of a hash, decoded: `{name, parts, query}`; the empty hash is the list of experiments. */
export function parseRoute(hash) {
  const [path, search = ""] = hash.replace(/^#/, "").split(/\?(.*)/s, 2);
  const [name, ...parts] = path.split("/").filter(Boolean).map(decoded);
  return { name: name ?? "experiments", parts, query: Object.fromEntries(new URLSearchParams(search)) };
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** The hash of a view; empty query values are left out. */
export function routeTo(name, parts = [], query = {}) {
  const path = [name, ...parts].map((part) => encodeURIComponent(part)).join("/");
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const search = new URLSearchParams(given.map(([key, value]) => [key, String(value)])).toString();
  return `#/${path}${search ? `?${search}` : ""}`;
}

/** Go to a view. */
export function go(hash) {
  window.location.hash = hash;
}

/** Give what is shown an address of its own, without drawing it again. */
export function remember(hash) {
  if (window.location.hash === hash) return;
  window.history.pushState(null, "", hash);
  tellAirflow();
}

/**
 * Airflow's page reads the address of this frame on every `load` and keeps its own address bar in step, so that a
 * link copied from there leads to the same view. A change of the hash loads nothing: say it.
 */
export function tellAirflow() {
  if (window.parent === window) return;
  try {
    window.frameElement?.dispatchEvent(new Event("load"));
  } catch {
    // A frame of another origin: there is nobody to tell.
  }
}
