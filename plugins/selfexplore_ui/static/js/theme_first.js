// The theme of Airflow's page, before anything is drawn: it keeps `light`, `dark` or `system` under `theme` in
// localStorage, which this page shares. The report, a file without storage, follows the system.
(() => {
  const KEY = "theme";
  const system = window.matchMedia("(prefers-color-scheme: dark)");

  function chosen() {
    try {
      return window.localStorage.getItem(KEY);
    } catch {
      return null; // storage is blocked: as the system says
    }
  }

  function apply() {
    const theme = chosen();
    const isDark = theme === "dark" || (theme !== "light" && system.matches);
    document.documentElement.dataset.theme = isDark ? "dark" : "light";
  }

  apply();
  system.addEventListener("change", apply);
  window.addEventListener("storage", (event) => {
    if (event.key === KEY || event.key === null) apply();
  });
})();
